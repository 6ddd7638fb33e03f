"""What this machine's nftables can do: library and kernel judge one sample of each feature.

The samples are only checked and never carried out. What to do without a feature is policy.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from ringbolt.linux.nft import Command, Commands, Nftables

_TABLE: Final = "ringbolt-probe"


class Feature(Enum):
    """What may be absent, and the kernel option that brings it."""

    NAT = "CONFIG_NFT_NAT"
    MASQUERADE = "CONFIG_NFT_MASQ"
    REDIRECT = "CONFIG_NFT_REDIR"
    FIB = "CONFIG_NFT_FIB_INET"
    CONNTRACK = "CONFIG_NFT_CT"
    INTERVALS = "CONFIG_NF_TABLES (interval sets)"
    CONCATENATED_INTERVALS = "Linux 5.6 (pipapo sets)"
    ADDRESS_PORT_MAPS = "nftables 0.9.4 (concatenated map values)"


def probe(nftables: Nftables) -> frozenset[Feature]:
    """The features that are there. Raises NftError (EPERM)."""
    return frozenset(f for f in Feature if nftables.supports(_sample(f)))


def _sample(feature: Feature) -> Commands:
    if feature is Feature.ADDRESS_PORT_MAPS:
        return _ADDRESS_PORT_MAP
    table = {"family": "inet", "name": _TABLE}
    return [{"add": {"table": table}}, *_SAMPLES[feature]]


def _set(kind: str | list[str]) -> list[Command]:
    where = {"family": "inet", "table": _TABLE, "name": "probe"}
    return [{"add": {"set": where | {"type": kind, "flags": ["interval"]}}}]


def _rule(*expressions: Mapping[str, Any], hook: str = "prerouting") -> list[Command]:
    where = {"family": "inet", "table": _TABLE}
    chain = {"name": "probe", "type": "nat", "hook": hook, "prio": 0, "policy": "accept"}
    rule = {"chain": "probe", "expr": list(expressions)}
    return [{"add": {"chain": where | chain}}, {"add": {"rule": where | rule}}]


_ADDRESS_PORT_MAP: Final = f"""
add table inet {_TABLE}
add map inet {_TABLE} ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
add chain inet {_TABLE} probe {{ type nat hook prerouting priority 0; }}
add rule inet {_TABLE} probe dnat ip to meta l4proto . th dport map @ports
"""

_TCP = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}
_FIB = {"fib": {"result": "type", "flags": ["daddr"]}}
_STATE = {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}

_SAMPLES: dict[Feature, list[Command]] = {
    Feature.NAT: _rule({"dnat": {"family": "ip", "addr": "192.0.2.1"}}),
    Feature.MASQUERADE: _rule({"masquerade": None}, hook="postrouting"),
    Feature.REDIRECT: _rule(_TCP, {"redirect": {"port": 80}}),
    Feature.FIB: _rule({"match": {"op": "==", "left": _FIB, "right": "local"}}),
    Feature.CONNTRACK: _rule({"match": _STATE}),
    Feature.INTERVALS: _set("ipv4_addr"),
    Feature.CONCATENATED_INTERVALS: _set(["ipv4_addr", "inet_service"]),
}
