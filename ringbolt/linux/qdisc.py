"""Queueing disciplines and filters over rtnetlink: a link's bandwidth. Pure but for `list_qdiscs`.

Traffic to a link is bounded by a token bucket (tbf) on it; traffic from it by redirecting what
comes in to an ifb and bounding that. What a burst should be is policy and not decided here.
"""

import errno
import math
import struct
from dataclasses import dataclass
from typing import Final

from ringbolt.linux import attributes as nla
from ringbolt.linux.messages import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Request
from ringbolt.linux.netlink import Socket

RTM_NEWQDISC: Final = 36
RTM_DELQDISC: Final = 37
RTM_GETQDISC: Final = 38
RTM_NEWTFILTER: Final = 44

TC_H_ROOT: Final = 0xFFFFFFFF
TC_H_INGRESS: Final = 0xFFFFFFF1
INGRESS_HANDLE: Final = 0xFFFF0000
TBF_HANDLE: Final = 0x10000

_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_TCA_U32_SEL, _TCA_U32_ACT = 5, 7
_TCA_ACT_KIND, _TCA_ACT_OPTIONS = 1, 2
_TCA_MIRRED_PARMS = 2
_TC_LINKLAYER_ETHERNET = 1
_TC_U32_TERMINAL = 1
_TC_ACT_STOLEN = 4
_TCA_EGRESS_REDIR = 1
_ETH_P_ALL = 0x0003
_NS_PER_TICK = 64
"""The unit of `tc_tbf_qopt.buffer` since Linux 2.6.31 (PSCHED_SHIFT)."""

_UINT32 = 0xFFFFFFFF
_MESSAGE = struct.Struct("=BxxxiIII")
_RATE = "BBHhHI"
_TBF = struct.Struct(f"={_RATE}{_RATE}III")
_U32_MATCH_ANY = struct.pack("=BBBxHHhhIIIii", _TC_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
_MIRRED = struct.Struct("=IIiiiiI")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: bytes a second, bytes at once, and how long a byte may wait before a drop."""

    rate: int
    burst: int
    latency_s: float = 0.025


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline as the kernel shows it; `rate`, `burst`, `limit` in bytes of a tbf."""

    index: int
    kind: str
    handle: int
    parent: int
    rate: int = 0
    burst: int = 0
    limit: int = 0


def new_tbf(index: int, bucket: Bucket) -> Request:
    """Bound what leaves by the link `index`, in place of any bound before; live connections stay.

    Raises OSError (EINVAL) for a rate or a burst of zero, of which the kernel takes the one.
    """
    if bucket.rate <= 0 or bucket.burst <= 0:
        what = f"{bucket.rate} B/s with a burst of {bucket.burst} B lets nothing through"
        raise OSError(errno.EINVAL, f"RTM_NEWQDISC tbf index {index}: {what}")
    limit = min(_UINT32, math.ceil(bucket.rate * bucket.latency_s) + bucket.burst)
    buffer = min(_UINT32, bucket.burst * 1_000_000_000 // bucket.rate // _NS_PER_TICK)
    rate = (0, _TC_LINKLAYER_ETHERNET, 0, 0, 0, min(_UINT32, bucket.rate))
    parameters = _TBF.pack(*rate, *[0] * 6, limit, buffer, 0)
    options = nla.attribute(_TCA_TBF_PARMS, parameters)
    options += nla.u32(_TCA_TBF_BURST, min(_UINT32, bucket.burst))
    if bucket.rate > _UINT32:
        options += nla.u64(_TCA_TBF_RATE64, bucket.rate)
    body = _MESSAGE.pack(0, index, TBF_HANDLE, TC_H_ROOT, 0) + nla.text(_TCA_KIND, "tbf")
    body += nla.nested(_TCA_OPTIONS, options)
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Request("RTM_NEWQDISC", f"tbf index {index}", RTM_NEWQDISC, flags, body)


def new_ingress(index: int) -> Request:
    """Give what comes in by the link a place for filters. EEXIST: it has one."""
    body = _MESSAGE.pack(0, index, INGRESS_HANDLE, TC_H_INGRESS, 0) + nla.text(_TCA_KIND, "ingress")
    flags = NLM_F_CREATE | NLM_F_EXCL
    return Request("RTM_NEWQDISC", f"ingress index {index}", RTM_NEWQDISC, flags, body)


def redirect_ingress(index: int, target: int, priority: int = 1) -> Request:
    """Send all that comes in by the link `index` through the link `target` (an ifb) first.

    u32 and mirred do it, which kernels without matchall have too. ENOENT: no `new_ingress` before.
    """
    information = priority << 16 | struct.unpack("=H", struct.pack("!H", _ETH_P_ALL))[0]
    redirect = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _TCA_EGRESS_REDIR, target)
    action = nla.text(_TCA_ACT_KIND, "mirred")
    action += nla.nested(_TCA_ACT_OPTIONS, nla.attribute(_TCA_MIRRED_PARMS, redirect))
    options = nla.attribute(_TCA_U32_SEL, _U32_MATCH_ANY)
    options += nla.nested(_TCA_U32_ACT, nla.nested(1, action))
    body = _MESSAGE.pack(0, index, 0, INGRESS_HANDLE, information) + nla.text(_TCA_KIND, "u32")
    body += nla.nested(_TCA_OPTIONS, options)
    subject = f"redirect index {index} to index {target}"
    flags = NLM_F_CREATE | NLM_F_EXCL
    return Request("RTM_NEWTFILTER", subject, RTM_NEWTFILTER, flags, body)


def delete_tbf(index: int) -> Request:
    """Lift the bound of `new_tbf`. ENOENT or EINVAL: there is none."""
    body = _MESSAGE.pack(0, index, 0, TC_H_ROOT, 0)
    return Request("RTM_DELQDISC", f"root index {index}", RTM_DELQDISC, 0, body)


def delete_ingress(index: int) -> Request:
    """Remove what `new_ingress` made, with its filters. ENOENT or EINVAL: there is none."""
    body = _MESSAGE.pack(0, index, INGRESS_HANDLE, TC_H_INGRESS, 0)
    return Request("RTM_DELQDISC", f"ingress index {index}", RTM_DELQDISC, 0, body)


def decode(body: bytes) -> Qdisc:
    """The discipline of an RTM_NEWQDISC or RTM_DELQDISC. Raises OSError (EBADMSG)."""
    if len(body) < _MESSAGE.size:
        raise nla.malformed("RTM_NEWQDISC", body)
    _family, index, handle, parent, _info = _MESSAGE.unpack_from(body)
    found = nla.parse(body[_MESSAGE.size :])
    kind = nla.as_text(found.get(_TCA_KIND, b""))
    if kind != "tbf":
        return Qdisc(index, kind, handle, parent)
    options = nla.parse(found.get(_TCA_OPTIONS, b""))
    if len(parameters := options.get(_TCA_TBF_PARMS, b"")) < _TBF.size:
        raise nla.malformed("tc_tbf_qopt", body)
    *numbers, limit, buffer, _mtu = _TBF.unpack_from(parameters)
    rate = nla.as_number(options[_TCA_TBF_RATE64]) if _TCA_TBF_RATE64 in options else numbers[5]
    burst = round(buffer * _NS_PER_TICK * rate / 1_000_000_000)
    return Qdisc(index, kind, handle, parent, rate, burst, limit)


def list_qdiscs(socket: Socket, index: int = 0) -> list[Qdisc]:
    """The disciplines of the link `index`, of all links for 0: a dump."""
    body = _MESSAGE.pack(0, index, 0, 0, 0)
    messages = socket.dump(Request("RTM_GETQDISC", "", RTM_GETQDISC, 0, body))
    found = (decode(message.body) for message in messages)
    return [qdisc for qdisc in found if index in (0, qdisc.index)]
