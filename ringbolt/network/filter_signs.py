"""Which notices of nf_tables mean that our table, or a way through another's, may be broken. Pure.

Our own changes tell too; of them only what takes away counts, and detaching a pod with host ports
costs a look.
"""

import struct

from ringbolt.linux import attributes as nla
from ringbolt.linux.netlink import Heard
from ringbolt.network import ruleset
from ringbolt.network.signs import Signs

_SUBSYSTEM = 10 << 8
_DELTABLE, _NEWCHAIN, _DELCHAIN, _DELSETELEM = (_SUBSYSTEM | number for number in (2, 3, 5, 14))
_TABLE_NAME = 1
"""NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_ELEM_LIST_TABLE alike."""
_NFTA_CHAIN_HOOK = 4
_HEADER = struct.Struct("!BBH")


def read_filter_signs(heard: Heard) -> Signs:
    """What was heard of nf_tables, as places to look at. Raises OSError (EBADMSG)."""
    _family, ours = ruleset.TABLE.split()
    if heard.overflow:
        return Signs(filter=True)
    for message in heard.messages:
        if message.kind not in (_DELTABLE, _NEWCHAIN, _DELCHAIN, _DELSETELEM):
            continue
        found = nla.parse(message.body[_HEADER.size :])
        if message.kind == _NEWCHAIN:
            if _NFTA_CHAIN_HOOK in found and nla.as_text(found.get(_TABLE_NAME, b"")) != ours:
                return Signs(filter=True)
        elif nla.as_text(found.get(_TABLE_NAME, b"")) == ours:
            return Signs(filter=True)
    return Signs()
