"""What ioctls tell of network devices is what rtnetlink tells."""

import errno
from collections.abc import Iterator

import pytest

from ringbolt.linux import link, netdevice, netlink
from ringbolt.linux.link import End
from ringbolt.linux.netdevice import Device
from tests.kernel.netlab import add_pair, must_find, namespace, refusal, remove_links

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[netlink.Socket]:
    with netlink.Socket() as socket:
        yield socket
        remove_links(socket)


def test_a_device_is_as_rtnetlink_shows_it(host: netlink.Socket) -> None:
    host.request([link.new_bridge(End("rb0", mac="0a:58:00:00:00:fe", mtu=1400))])
    found = must_find(host, "rb0")
    assert netdevice.look(host, "rb0") == Device(found.index, up=False, mac=found.mac, mtu=1400)
    host.request([link.set_link("rb0", link.Change(up=True))])
    assert netdevice.look(host, "rb0").up


def test_each_socket_tells_of_its_own_namespace(host: netlink.Socket) -> None:
    with namespace() as pod, netlink.Socket(netns=pod) as inside:
        add_pair(host, End("cali1"), End("eth0", netns_fd=pod))
        assert netdevice.index_of(inside, "eth0") == must_find(inside, "eth0").index
        with refusal(errno.ENODEV, "SIOCGIFINDEX eth0"):
            netdevice.index_of(host, "eth0")


def test_the_longest_name_is_found(host: netlink.Socket) -> None:
    name = "a" * 15
    host.request([link.new_bridge(End(name))])
    assert netdevice.index_of(host, name) == must_find(host, name).index
