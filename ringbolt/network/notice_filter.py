"""Which of the kernel's notices shall wake nobody: those that `signs` makes nothing of. Pure.

Of a link of ours only that it goes down or is deleted is told, not how it comes or what is changed
once it is down: so attaching a pod wakes nobody. Of other links all is told: they may be uplinks,
bridges, or pods' whose hardware address was changed.
"""

import socket
from ipaddress import IPv6Network, ip_network
from typing import Final

from ringbolt.linux import address, link, notices
from ringbolt.linux.socket_filter import (
    DROP,
    PASS,
    PAYLOAD,
    Code,
    find_attribute,
    go,
    if_any,
    if_equal,
    load,
    load_behind,
    mask,
    native,
)
from ringbolt.network.names import HOST_NAME_LENGTH, HOST_PREFIX
from ringbolt.network.plan import NODE_PREFIX, POD_PREFIX
from ringbolt.network.settings import IpNetwork, Settings
from ringbolt.network.signs import Landmarks

_NEW: Final = 0xFFFFFFFF
"""What has changed of a link that was not there before."""
_LINK_LOCAL: Final = (0xFFC0, 0xFE80)
_MULTICAST: Final = 0xFF
_SELDOM_OURS: Final = (IPv6Network("fe80::/10"), IPv6Network("ff00::/8"))


def plan_notice_filter(marks: Landmarks) -> Code:
    """What to drop, for an `Overhearer` of `signs.KINDS`."""
    return (
        load(notices.TYPE_AT, 2),
        if_equal(native(link.RTM_NEWLINK, 2), no="no link"),
        *_uplinks(marks),
        *_links(),
        "no link",
        *(() if marks.link_local else _link_local()),
        "tell",
        PASS,
        "drop",
        DROP,
    )


def has_link_local(settings: Settings) -> bool:
    """Whether an address, gateway or route of this network may be link-local or multicast.

    What another address management gives is not known before.
    """
    ours = [one.subnet for ranges in settings.ranges for one in ranges]
    for each in settings.routes:
        ours += [ip_network(each.gateway)] if each.gateway else []
        ours += [each.destination] if each.destination.prefixlen else []
    return not settings.ranges or any(_is_seldom_ours(one) for one in ours)


def _is_seldom_ours(one: IpNetwork) -> bool:
    return isinstance(one, IPv6Network) and any(one.overlaps(other) for other in _SELDOM_OURS)


def _uplinks(marks: Landmarks) -> Code:
    """Tell of an uplink's other MTU. A pod's link may have its index, and mostly has its MTU."""
    code: Code = ()
    for index, mtu in marks.uplinks.items():
        other = f"not {index}"
        code += (
            load(notices.INDEX_AT, 4),
            if_equal(native(index, 4), no=other),
            *find_attribute(notices.LINK_MTU, notices.LINK_ATTRIBUTES_AT, otherwise="tell"),
            load_behind(PAYLOAD, 4),
            if_equal(native(mtu, 4), no="tell"),
            other,
        )
    return code


def _links() -> Code:
    """Of ours, which their hardware addresses show, only those that go down; of others all."""
    length = native(PAYLOAD + HOST_NAME_LENGTH + 1, 2)
    return (
        load(notices.INDEX_AT, 4),
        if_equal(native(link.LOOPBACK, 4), yes="drop"),
        *find_attribute(notices.LINK_MAC, notices.LINK_ATTRIBUTES_AT, otherwise="tell"),
        load_behind(PAYLOAD, 2),
        if_equal(_prefix(POD_PREFIX), yes="ours"),
        if_equal(_prefix(NODE_PREFIX), no="tell"),
        *find_attribute(notices.LINK_NAME, notices.LINK_ATTRIBUTES_AT, otherwise="tell"),
        load_behind(0, 2),
        if_equal(length, no="tell"),
        load_behind(PAYLOAD, 2),
        if_equal(int.from_bytes(HOST_PREFIX.encode()), no="tell"),
        "ours",
        load(notices.LINK_CHANGE_AT, 4),
        if_equal(_NEW, yes="drop"),
        if_any(native(link.IFF_UP, 4), no="drop"),
        load(notices.LINK_FLAGS_AT, 4),
        if_any(native(link.IFF_UP, 4), yes="drop", no="tell"),
    )


def _prefix(words: str) -> int:
    return int(words.replace(":", ""), 16)


def _link_local() -> Code:
    """What each link with IPv6 has, and loses when it goes."""
    bits, link_local = _LINK_LOCAL
    return (
        if_equal(native(link.RTM_DELLINK, 2), yes="tell"),
        load(notices.FAMILY_AT, 1),
        if_equal(socket.AF_INET6, no="tell"),
        load(notices.TYPE_AT, 2),
        if_equal(native(address.RTM_DELADDR, 2), yes="address"),
        *find_attribute(notices.ABOUT, notices.OTHER_ATTRIBUTES_AT, otherwise="tell"),
        go("found"),
        "address",
        *find_attribute(notices.ABOUT, notices.ADDRESS_ATTRIBUTES_AT, otherwise="tell"),
        "found",
        load_behind(PAYLOAD, 1),
        if_equal(_MULTICAST, yes="drop"),
        load_behind(PAYLOAD, 2),
        mask(bits),
        if_equal(link_local, yes="drop"),
    )
