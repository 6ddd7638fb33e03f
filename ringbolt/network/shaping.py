"""Bandwidth: how large a burst may be (pure), and the bounds on a pod's link on the node.

Both bounds stand on the node's side, where the pod cannot lift them: a token bucket on the link
bounds what the pod receives; what it sends passes another device (ifb), and a bucket bounds that.
"""

import errno

from ringbolt.linux import link, qdisc
from ringbolt.linux.link import Change, End
from ringbolt.linux.messages import Request
from ringbolt.linux.netlink import Socket
from ringbolt.linux.qdisc import Bucket
from ringbolt.network.attachment import Bandwidth
from ringbolt.network.names import ifb_name
from ringbolt.network.plan import Plan

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


def plan_buckets(limits: Bandwidth, mtu: int) -> tuple[Bucket | None, Bucket | None]:
    """The buckets for what the pod receives and for what it sends."""
    return (
        plan_bucket(limits.ingress_rate, limits.ingress_burst, mtu),
        plan_bucket(limits.egress_rate, limits.egress_burst, mtu),
    )


def reshape(node: Socket, index: int, plan: Plan) -> None:
    """As `shape`, and what the pod sends passes the ifb that is there now. Raises OSError.

    A filter keeps its target by itself, not by its name, and an ifb that was deleted leaves the
    filter behind; so for an instant the pod is not limited.
    """
    gone = (errno.ENOENT, errno.EINVAL)
    node.request([qdisc.delete_ingress(index).forgiving(*gone)])
    shape(node, index, plan)


def shape(node: Socket, index: int, plan: Plan) -> None:
    """Bound the pod behind the link `index` in both directions; repeated, it takes the new limits.

    Best done while the link is down. Raises OSError.
    """
    requests = list[Request]()
    to_pod, from_pod = plan_buckets(plan.bandwidth, plan.mtu)
    if to_pod:
        requests.append(qdisc.new_tbf(index, to_pod))
    if from_pod:
        ifb = _ensure_ifb(node, ifb_name(plan.host_name), plan.mtu)
        requests += [
            qdisc.new_tbf(ifb, from_pod),
            link.set_link(ifb, Change(up=True)),
            qdisc.new_ingress(index).forgiving(errno.EEXIST),
            qdisc.redirect_ingress(index, ifb).forgiving(errno.EEXIST),
        ]
    if requests:
        node.request(requests)


def _ensure_ifb(node: Socket, name: str, mtu: int) -> int:
    end = End(name, mtu=mtu, queues=_ONE_QUEUE)
    made = [link.new_ifb(end).forgiving(errno.EEXIST), link.get_link(name).forgiving(errno.ENODEV)]
    _, answers = node.request(made)
    if not answers:
        raise OSError(errno.ENODEV, f"{name} vanished right after it was made")
    return link.decode(answers[0].body).index
