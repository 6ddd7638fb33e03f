"""Addresses, networks and MACs as the wire writes them."""

import ipaddress
import re
from functools import lru_cache

from cni.codes import CniError, Code
from ringbolt.network.settings import IpAddress, IpInterface, IpNetwork

_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.ASCII)
_MULTICAST = 0x01
_REMEMBERED = 512  # one network's settings come with each of its calls


@lru_cache(_REMEMBERED)
def parse_address(text: str, what: str) -> IpAddress:
    """`10.0.0.5`, or with a prefix that is not looked at. Raises CniError naming `what`."""
    try:
        return ipaddress.ip_address(text.partition("/")[0].strip())
    except ValueError:
        raise CniError(Code.INVALID_CONFIG, f'{what} "{text}" is no IP address') from None


@lru_cache(_REMEMBERED)
def parse_network(text: str, what: str) -> IpNetwork:
    """`10.0.0.0/24`. Raises CniError naming `what`."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        message = f'{what} "{text}" is no network in CIDR notation: {error}'
        raise CniError(Code.INVALID_CONFIG, message) from None


@lru_cache(_REMEMBERED)
def parse_interface(text: str, what: str) -> IpInterface:
    """`10.0.0.5/24`. Raises CniError naming `what`."""
    try:
        if "/" not in text:
            raise ValueError  # noqa: TRY301  # the message is the same
        return ipaddress.ip_interface(text)
    except ValueError:
        message = f'{what} "{text}" is no address with a prefix'
        raise CniError(Code.INVALID_CONFIG, message) from None


def parse_mac(text: str, what: str) -> str:
    """A unicast MAC in any of its notations, as aa:bb:cc:dd:ee:ff. Raises CniError."""
    if not _MAC.fullmatch(text.lower()):
        raise CniError(Code.INVALID_CONFIG, f'{what} "{text}" is no MAC address')
    digits = re.sub(r"[^0-9a-f]", "", text.lower())
    if int(digits[:2], 16) & _MULTICAST or not int(digits, 16):
        message = f'{what} "{text}" cannot be an interface\'s: it is a group address, or none'
        raise CniError(Code.INVALID_CONFIG, message)
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
