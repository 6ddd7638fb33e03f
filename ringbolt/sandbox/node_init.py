"""The process that holds the sandbox's node: its network beside the host's, and what is outside it.

Run as a file by `node`. It reads one line of JSON, makes the namespaces, joins them by a pair of
links, reports a line, and holds them until its input ends. Nothing of the host's network is
touched: with the last process inside, the kernel takes all of it back.
"""

import json
import os
import signal
import sys
from ipaddress import ip_interface, ip_network
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from ringbolt.linux import address, link, loopback, mount, namespaces, route
from ringbolt.linux.address import Address
from ringbolt.linux.link import Change, End
from ringbolt.linux.netlink import Socket
from ringbolt.linux.route import Route

_IFA_F_NODAD = 0x02
_DEFAULTS = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_OWN_NETWORK = "/proc/self/ns/net"


def main() -> int:
    """Read the plan, be the node, end with the input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    plan: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        _build(plan)
    except OSError as error:
        _report(error=str(error.strerror or error))
        return 1
    _report(ready=True)
    while os.read(0, 4096):
        pass
    return 0


def _build(plan: dict[str, Any]) -> None:
    uid, gid = os.geteuid(), os.getegid()
    spaces = namespaces.CLONE_NEWNS | namespaces.CLONE_NEWNET
    namespaces.unshare(spaces | (namespaces.CLONE_NEWUSER if plan["user_namespace"] else 0))
    if plan["user_namespace"]:
        namespaces.map_self(uid, gid)
    # What the host mounts later shall be seen here, what is mounted here nowhere else.
    mount.set_propagation("/", mount.MS_SLAVE, recursive=True)
    loopback.bring_up()
    _join_outside(plan)


def _join_outside(plan: dict[str, Any]) -> None:
    """A second network, held at `outside`, and one pair of links between it and the node."""
    node = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    namespaces.unshare(namespaces.CLONE_NEWNET)
    loopback.bring_up()
    os.close(os.open(plan["outside"], os.O_CREAT | os.O_WRONLY, 0o444))
    mount.bind(_OWN_NETWORK, plan["outside"])
    outside = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    namespaces.setns(f"/proc/self/fd/{node}", namespaces.CLONE_NEWNET)
    with Socket() as here, Socket(netns=outside) as there:
        here.request([link.new_veth(End(plan["uplink"]), End(plan["uplink"], netns_fd=outside))])
        ends = ((here, plan["node_addresses"]), (there, plan["outside_addresses"]))
        for socket, addresses in ends:
            _configure(socket, plan["uplink"], addresses)
        _lead_out(here, plan["uplink"], plan["outside_addresses"])
    os.close(node)
    os.close(outside)


def _configure(socket: Socket, name: str, addresses: list[str]) -> None:
    index = _index(socket, name)
    wanted = [
        address.new_address(Address(index, ip_interface(one), _IFA_F_NODAD)) for one in addresses
    ]
    socket.request([*wanted, link.set_link(index, Change(up=True))])


def _lead_out(node: Socket, name: str, gateways: list[str]) -> None:
    index = _index(node, name)
    for one in gateways:
        gateway = ip_interface(one).ip
        node.request([route.new_route(Route(_DEFAULTS[gateway.version], index, gateway))])


def _index(socket: Socket, name: str) -> int:
    found = link.find(socket, name)
    assert found is not None, f"{name} vanished right after it was made"
    return found.index


def _report(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
