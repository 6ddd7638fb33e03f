"""Keeps the node's packet filter as the ruleset wants it: networks, host ports, tracked flows.

The kernel is opened when a network first masquerades or a pod first has a host port: nodes without
either need no libnftables. The table may vanish at any time (`nft flush ruleset`); the next call
notices and makes all of it again.
"""

import errno
import json
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from ringbolt.linux import conntrack, nft_lookup, sysctl
from ringbolt.linux.netlink import NETLINK_NETFILTER, Socket
from ringbolt.linux.nft import Nftables, NftError
from ringbolt.network import ruleset
from ringbolt.network.attachment import PortMapping
from ringbolt.network.errors import NotAvailableError
from ringbolt.network.ruleset import Element
from ringbolt.network.ruleset_view import TableView, parse_table
from ringbolt.network.settings import IpAddress, NetworkName, Settings

_FAMILIES_WITH_FORWARD = ("ip", "ip6", "inet")


class Firewall:
    """The packet filter of the namespace of the thread that first uses it. Close it.

    `recorded` tells all host ports there should be, for when all of them are lost.
    """

    def __init__(self, recorded: Callable[[], Iterable[Element]]) -> None:
        self._recorded = recorded
        self._networks: dict[NetworkName, Settings] = {}
        self._opened: Nftables | None = None
        self._socket: Socket | None = None
        self._closing = ExitStack()
        self._turn = threading.Lock()

    def close(self) -> None:
        """Let go of the kernel; the rules stay."""
        self._closing.close()

    def ensure(self, settings: Settings) -> bool:
        """Have the table and this network in it; whether they had been lost.

        Raises NotAvailableError without libnftables, OSError.
        """
        nft = self._nft
        with self._turn:
            known = self._networks.get(settings.name)
            if known is not settings and known != settings:
                nft.run(ruleset.plan_table() + ruleset.plan_chain(settings.name))
                nft.run(ruleset.plan_network(settings))
                self._networks[settings.name] = settings
                return False
        if self.is_there(settings):
            return False
        self.rebuild()
        return True

    def is_there(self, settings: Settings) -> bool:
        """Whether the network is in the table; asked without reading the table."""
        _family, table = ruleset.TABLE.split()
        chain = ruleset.chain_of(settings.name)
        return nft_lookup.has_chain(self._netfilter, nft_lookup.NFPROTO_INET, table, chain)

    def rebuild(self, settings: Settings | None = None) -> None:
        """Make the table again, with every known network, this one, every recorded host port."""
        nft = self._nft
        with self._turn:
            if settings:
                self._networks[settings.name] = settings
            self._rebuild(nft)

    def look(self) -> TableView | None:
        """What is in the table: all of it is read. None where it is not there."""
        try:
            return parse_table(self._nft.run(f"list table {ruleset.TABLE}\n"))
        except NftError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def delete(self, elements: Iterable[Element]) -> None:
        """Delete host ports one by one; content with what is gone."""
        self._delete(elements)

    def open_ports(self, ports: tuple[PortMapping, ...], addresses: tuple[IpAddress, ...]) -> None:
        """Lead the node's ports to the pod. Raises OSError."""
        elements = ruleset.elements_of(ports, addresses)
        try:
            self._nft.run(ruleset.add_elements(elements))
        except NftError as error:
            if error.errno != errno.EEXIST:
                raise
            # The leases know of no other holder: somebody lost count before them.
            self._delete(elements)
            self._nft.run(ruleset.add_elements(elements))
        self._forget_flows(ports)

    def close_ports(self, ports: tuple[PortMapping, ...], addresses: tuple[IpAddress, ...]) -> None:
        """Take the node's ports back; content with what is gone."""
        elements = ruleset.elements_of(ports, addresses)
        try:
            self._nft.run(ruleset.delete_elements(elements))
        except NftError as error:
            if error.errno != errno.ENOENT:
                raise
            self._delete(elements)
        self._forget_flows(ports)

    def prune(self) -> frozenset[Element]:
        """Delete host ports that nobody has on record: what a crash left. Which there were."""
        there = self.look()
        if there is None:
            return frozenset()
        # In this order: an element is made after its record, so none is too young for it.
        stray = there.ports - set(self._recorded())
        self._delete(stray)
        return stray

    def foreign_drops(self) -> list[str]:
        """Chains of others that drop what the node forwards, as `ip filter FORWARD`.

        An accept of ours cannot overrule them. iptables of the legacy kind is not seen here.
        """
        found = self._nft.run("list chains\n")
        chains: list[dict[str, Any]] = [one["chain"] for one in found if "chain" in one]
        return [
            f"{one['family']} {one['table']} {one['name']}"
            for one in chains
            if one.get("hook") == "forward"
            and one.get("policy") == "drop"
            and one["family"] in _FAMILIES_WITH_FORWARD
        ]

    def mentions(self, chain: str, link: str, settings: Settings) -> bool:
        """Whether the chain's table speaks of these links or subnets: then somebody cared."""
        family, table, _chain = chain.split()
        there = json.dumps(self._nft.run(f"list table {family} {table}\n"))
        subnets = [str(one.network_address) for one in ruleset.subnets_of(settings)]
        return any(f'"{word}"' in there for word in (link, *subnets))

    def accept_in(self, chain: str, link: str) -> bool:
        """Put an accept for what comes and goes by `link` in front of a foreign chain; once.

        Whether it was missing.
        """
        there = str(self._nft.run(f"list chain {chain}\n"))
        ways = [way for way in ("iifname", "oifname") if f"ringbolt {way} {link}" not in there]
        for way in ways:
            comment = f"ringbolt {way} {link}"
            self._nft.run(f'insert rule {chain} {way} "{link}" accept comment "{comment}"\n')
        return bool(ways)

    @property
    def _nft(self) -> Nftables:
        with self._turn:
            if self._opened is None:
                try:
                    self._opened = self._closing.enter_context(Nftables())
                except FileNotFoundError as error:
                    raise NotAvailableError(str(error.strerror)) from error
            return self._opened

    @property
    def _netfilter(self) -> Socket:
        with self._turn:
            if self._socket is None:
                self._socket = self._closing.enter_context(Socket(NETLINK_NETFILTER))
            return self._socket

    def _rebuild(self, nft: Nftables) -> None:
        known = self._networks.values()
        nft.run(ruleset.plan_table() + "".join(ruleset.plan_chain(one.name) for one in known))
        ports = ruleset.add_elements(self._recorded())
        nft.run("".join(ruleset.plan_network(one) for one in known) + ports)

    def _delete(self, elements: Iterable[Element]) -> None:
        for one in elements:
            try:
                self._nft.run(ruleset.delete_elements([one]))
            except NftError as error:
                if error.errno != errno.ENOENT:
                    raise

    def _forget_flows(self, ports: tuple[PortMapping, ...]) -> None:
        for port in ruleset.udp_ports(ports):
            conntrack.delete_flows(self._netfilter, conntrack.Pattern(destination_port=port))


def route_localhost(link: str) -> None:
    """Let 127.0.0.1 be routed by this link, for host ports; the guard keeps others from it."""
    if localhost_faults(link):
        sysctl.write(_LOCALNET.format(link), "1")


def localhost_faults(link: str) -> list[str]:
    """That 127.0.0.1 is not routed by this link, in a sentence."""
    name = _LOCALNET.format(link)
    return [f"{name} is 0: 127.0.0.1 leads to no host port"] if sysctl.read(name) == "0" else []


_LOCALNET = "net/ipv4/conf/{}/route_localnet"
