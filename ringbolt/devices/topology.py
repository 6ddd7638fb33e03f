"""Where in the machine a device sits: its NUMA node and the PCIe root port it hangs on."""

import re

from ringbolt.devices.tree import Node, Tree

_BELOW_HOST_BRIDGE = re.compile(r"/pci[0-9a-f]{4,}:[0-9a-f]{2}/([0-9a-f]{4,}:[0-9a-f]{2}:[^/]+)")


def numa_node(node: Node, tree: Tree) -> int | None:
    """The NUMA node of the device or of its nearest ancestor that has one; None where unknown.

    The kernel writes -1 for "none" (Documentation/ABI/testing/sysfs-bus-pci, numa_node).
    """
    for place in tree.lineage(node):
        said = tree.attribute(place, "numa_node")
        if said is not None and said.isdecimal():
            return int(said)
    return None


def pcie_root(node: Node) -> str:
    """The first PCI function below the host bridge, as `0000:00:1c.0`; "" where there is none."""
    found = _BELOW_HOST_BRIDGE.search(f"{node.sys_path}/")
    return found[1] if found else ""
