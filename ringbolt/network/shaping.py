"""Bandwidth: how large a burst may be (pure), and the bounds on a pod's link on the node.

Both bounds stand on the node's side, where the pod cannot lift them: a token bucket on the link
bounds what the pod receives; what it sends passes another device (ifb), and a bucket bounds that.
"""

import errno

from ringbolt.linux import link, qdisc
from ringbolt.linux.link import Change, End
from ringbolt.linux.netlink import Socket
from ringbolt.linux.qdisc import Bucket
from ringbolt.network.attachment import Bandwidth
from ringbolt.network.names import ifb_name

_BITS = 8
_UNSET_BITS = (1 << 31) - 1
"""Runtimes that know of no burst say MaxInt32 or MaxUint32 bits: half a gigabyte unbounded."""
_BURST_S = 0.05
_SMALLEST_DEFAULT = 64 << 10
_LARGEST = (1 << 32) - 1
_FRAMES = 2
_ONE_QUEUE = 1


def plan_bucket(rate_bits: int, burst_bits: int, mtu: int) -> Bucket | None:
    """The bucket for a rate in bits per second and a burst in bits; None without a rate.

    A burst that nobody chose is 50 ms of the rate, at least 64 KiB; none is too small for a frame.
    """
    rate = rate_bits // _BITS
    if rate <= 0:
        return None
    burst = burst_bits // _BITS
    if burst_bits >= _UNSET_BITS or burst_bits <= 0:
        burst = max(int(rate * _BURST_S), _SMALLEST_DEFAULT)
    return Bucket(rate, min(max(burst, _FRAMES * mtu), _LARGEST))


def shape(node: Socket, name: str, limits: Bandwidth, mtu: int) -> None:
    """Bound the pod behind the link `name` in both directions; repeated, it takes the new limits.

    Raises OSError.
    """
    found = link.find(node, name)
    if found is None:
        raise OSError(errno.ENODEV, f"{name} vanished before its bandwidth was limited")
    if to_pod := plan_bucket(limits.ingress_rate, limits.ingress_burst, mtu):
        node.request([qdisc.new_tbf(found.index, to_pod)])
    if from_pod := plan_bucket(limits.egress_rate, limits.egress_burst, mtu):
        ifb = _ensure_ifb(node, ifb_name(name), mtu)
        node.request(
            [
                qdisc.new_tbf(ifb, from_pod),
                qdisc.new_ingress(found.index).forgiving(errno.EEXIST),
                qdisc.redirect_ingress(found.index, ifb).forgiving(errno.EEXIST),
            ]
        )


def _ensure_ifb(node: Socket, name: str, mtu: int) -> int:
    end = End(name, mtu=mtu, queues=_ONE_QUEUE, up=True)
    node.request([link.new_ifb(end).forgiving(errno.EEXIST)])
    found = link.find(node, name)
    if found is None:
        raise OSError(errno.ENODEV, f"{name} vanished right after it was made")
    if not found.up:
        node.request([link.set_link(found.index, Change(up=True))])
    return found.index
