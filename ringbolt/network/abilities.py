"""What the kernel must be able to do for pods, tried in a namespace made for it and gone after it.

Nothing of it touches the node, but modules may be loaded: those that a first pod would load.
"""

import os
from collections.abc import Callable

from ringbolt.linux import link, network_namespace, qdisc
from ringbolt.linux.link import End
from ringbolt.linux.messages import Request
from ringbolt.linux.namespaces import CLONE_NEWNET, unshare
from ringbolt.linux.netlink import Socket

_MTU = 1500
_RATE = 1_000_000

_TRIED: dict[str, Callable[[int], Request]] = {
    "veth pairs (CONFIG_VETH)": lambda _: link.new_veth(End("v0"), End("v1")),
    "bridges (CONFIG_BRIDGE)": lambda _: link.new_bridge(End("b0")),
    "ifb links, for bandwidth (CONFIG_IFB)": lambda _: link.new_ifb(End("i0", queues=1)),
    "tbf, for bandwidth (CONFIG_NET_SCH_TBF)": lambda lo: qdisc.new_tbf(
        lo, qdisc.Bucket(_RATE, _MTU)
    ),
    "ingress, for bandwidth (CONFIG_NET_SCH_INGRESS)": qdisc.new_ingress,
    "redirection, for bandwidth (CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED)": (
        lambda lo: qdisc.redirect_ingress(lo, lo)
    ),
}


def find_missing_abilities() -> tuple[str, ...]:
    """What this kernel lacks, with the option that brings it. Raises OSError (EPERM)."""

    def try_all() -> tuple[str, ...]:
        unshare(CLONE_NEWNET)
        with Socket() as socket:
            requests = [make(link.LOOPBACK) for make in _TRIED.values()]
            results = socket.attempt(requests)
        return tuple(
            name
            for name, result in zip(_TRIED, results, strict=True)
            if isinstance(result, OSError)
        )

    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return network_namespace.inside(here, try_all)
    finally:
        os.close(here)
