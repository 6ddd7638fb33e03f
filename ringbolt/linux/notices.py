"""What rtnetlink tells of changes, as values: a link, address, route or neighbour came or went.

Pure. `netlink.Listener` hears the messages; what a change means is the room's to decide.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ringbolt.linux import address, link, neighbour, route
from ringbolt.linux import attributes as nla
from ringbolt.linux.address import Address
from ringbolt.linux.link import Link
from ringbolt.linux.messages import Message
from ringbolt.linux.neighbour import Neighbour
from ringbolt.linux.route import Route

RTNLGRP_LINK: Final = 1
RTNLGRP_NEIGH: Final = 3
RTNLGRP_IPV4_IFADDR: Final = 5
RTNLGRP_IPV4_ROUTE: Final = 7
RTNLGRP_IPV6_IFADDR: Final = 9
RTNLGRP_IPV6_ROUTE: Final = 11
NFNLGRP_NFTABLES: Final = 7
"""Of a NETLINK_NETFILTER listener."""

TYPE_AT: Final = 4
FAMILY_AT: Final = 16
INDEX_AT: Final = 20
LINK_FLAGS_AT: Final = 24
LINK_CHANGE_AT: Final = 28
LINK_ATTRIBUTES_AT: Final = 32
ADDRESS_ATTRIBUTES_AT: Final = 24
OTHER_ATTRIBUTES_AT: Final = 28
"""Where it stands in a message, for a socket's filter. `OTHER`: of routes and neighbours."""
LINK_MAC: Final = 1
LINK_NAME: Final = 3
LINK_MTU: Final = 4
ABOUT: Final = 1
"""IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU; and IFA_ADDRESS, RTA_DST and NDA_DST alike."""

LINKS: Final = frozenset({link.RTM_NEWLINK, link.RTM_DELLINK})
_INDEX = struct.Struct("=4xI")
"""`ifi_index`, `ifa_index` and `ndm_ifindex` stand at one place."""
_FLAGS = struct.Struct("=8xI")

_NEIGHBOURS = frozenset({neighbour.RTM_NEWNEIGH, neighbour.RTM_DELNEIGH})
_ABOUT = frozenset({ABOUT})
_ROUTES = frozenset({route.RTM_NEWROUTE, route.RTM_DELROUTE})

_IP = (2, 10)
_ANY = (0,)


@dataclass(frozen=True, slots=True)
class Notice:
    """`value` is there as shown, new or changed, or is `gone`."""

    value: Link | Address | Route | Neighbour
    gone: bool


_Decoder = Callable[[bytes], Link | Address | Route | Neighbour]

_DECODERS: dict[int, tuple[_Decoder, tuple[int, ...], bool]] = {
    # A bridge tells of its ports by the same messages in its own family: those links stay.
    link.RTM_NEWLINK: (link.decode, _ANY, False),
    link.RTM_DELLINK: (link.decode, _ANY, True),
    address.RTM_NEWADDR: (address.decode, _IP, False),
    address.RTM_DELADDR: (address.decode, _IP, True),
    route.RTM_NEWROUTE: (route.decode, _IP, False),
    route.RTM_DELROUTE: (route.decode, _IP, True),
    neighbour.RTM_NEWNEIGH: (neighbour.decode, _IP, False),
    neighbour.RTM_DELNEIGH: (neighbour.decode, _IP, True),
}


def decode(message: Message) -> Notice | None:
    """What `message` tells; None where it is about something else.

    Raises OSError (EBADMSG).
    """
    known = _DECODERS.get(message.kind)
    if known is None:
        return None
    read, families, gone = known
    if message.body[:1] not in [bytes([family]) for family in families]:
        return None
    return Notice(read(message.body), gone)


def index_of(message: Message) -> int | None:
    """Which link `message` is about, without decoding more of it; None for a route without one.

    Raises OSError (EBADMSG).
    """
    if message.kind in _ROUTES:
        return route.interface_of(message.body)
    if len(message.body) < _INDEX.size:
        raise nla.malformed(f"message {message.kind}", message.body)
    return int(_INDEX.unpack_from(message.body)[0])


def is_up(message: Message) -> bool:
    """Whether the link of an RTM_NEWLINK is set up, without decoding more of it.

    Raises OSError (EBADMSG).
    """
    if len(message.body) < _FLAGS.size:
        raise nla.malformed(f"message {message.kind}", message.body)
    return bool(_FLAGS.unpack_from(message.body)[0] & link.IFF_UP)


def address_of(message: Message) -> bytes:
    """The address of an RTM_DELADDR or RTM_DELNEIGH and their like, without decoding more of it.

    Raises OSError (EBADMSG).
    """
    is_neighbour = message.kind in _NEIGHBOURS
    begin = (OTHER_ATTRIBUTES_AT if is_neighbour else ADDRESS_ATTRIBUTES_AT) - FAMILY_AT
    return nla.find(message.body[begin:], _ABOUT).get(ABOUT, b"")
