"""One question to nf_tables (linux/netfilter/nf_tables.h): is there such a chain.

libnftables reads whole rulesets before it answers; this is one message, however many rules there
are. Everything else goes through `nft`.
"""

import errno
import struct
from functools import cache
from typing import Final

from ringbolt.linux import attributes as nla
from ringbolt.linux.messages import Request
from ringbolt.linux.netlink import Socket

NFPROTO_INET: Final = 1
_NFT_MSG_GETCHAIN = 10 << 8 | 4
_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME = 1, 3

_MESSAGE = struct.Struct("!BBH")


@cache
def get_chain(family: int, table: str, chain: str) -> Request:
    """Ask for a chain by its name. ENOENT: there is no such table or chain."""
    body = _MESSAGE.pack(family, 0, 0)
    body += nla.text(_NFTA_CHAIN_TABLE, table) + nla.text(_NFTA_CHAIN_NAME, chain)
    return Request("NFT_MSG_GETCHAIN", f"{table} {chain}", _NFT_MSG_GETCHAIN, 0, body)


def has_chain(socket: Socket, family: int, table: str, chain: str) -> bool:
    """Whether the chain is there; `socket` is a NETLINK_NETFILTER one. Raises NetlinkError."""
    return bool(socket.request([get_chain(family, table, chain).forgiving(errno.ENOENT)])[0])
