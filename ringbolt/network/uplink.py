"""The link that the node's own traffic leaves by, and its MTU: pods have the same.

It is found by the default routes, never by the order of links or their largest MTU.
"""

from ringbolt.linux import link, route
from ringbolt.linux.netlink import Socket
from ringbolt.network.plan import DEFAULT_MTU


def find_uplinks(node: Socket) -> dict[int, int]:
    """The MTUs, by index, of the links of the best default route of each family.

    A dump of routes: once for a process, and again when a link or route changes.
    """
    best: dict[int, route.Route] = {}
    for one in route.list_routes(node):
        if one.destination.prefixlen or one.kind != route.RTN_UNICAST or one.index is None:
            continue
        known = best.get(one.destination.version)
        if known is None or (one.priority or 0) < (known.priority or 0):
            best[one.destination.version] = one
    links = [link.find(node, one.index) for one in best.values() if one.index]
    return {found.index: found.mtu for found in links if found}


def find_uplink_mtu(node: Socket) -> int:
    """The smallest MTU of `find_uplinks`; 1500 without."""
    return min(find_uplinks(node).values(), default=DEFAULT_MTU)
