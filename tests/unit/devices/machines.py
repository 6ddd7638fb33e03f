"""Machines made of values: what stands where is said apart from how the kernel numbers it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ringbolt.devices.grammar import parse_terms
from ringbolt.devices.resource import Group, GroupBy, Resource, ResourceName
from ringbolt.devices.tree import Node, SysPath, Tree


@dataclass
class Machine:
    """Nodes and sysfs attributes, added one by one; `tree()` is what a scan would give."""

    nodes: dict[SysPath, Node] = field(default_factory=dict)
    attributes: dict[tuple[SysPath, str], str] = field(default_factory=dict)

    def add(
        self,
        path: str,
        subsystem: str,
        properties: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        *,
        dev: str | None = None,
        initialized: bool = True,
    ) -> str:
        """Add a node; `dev` is its node below /dev. Its path, for what is added below it."""
        where = SysPath(path)
        told = dict(properties or {})
        links = tuple(told.get("DEVLINKS", "").split())
        node = Node(
            where,
            path.rpartition("/")[2],
            subsystem,
            told.get("DEVTYPE", ""),
            told.get("DRIVER", ""),
            f"/dev/{dev}" if dev else None,
            links,
            frozenset(),
            told,
            initialized,
        )
        self.nodes[where] = node
        self.attributes |= {(where, name): text for name, text in (attributes or {}).items()}
        return path

    def pci(self, path: str, **attributes: str) -> str:
        return self.add(path, "pci", attributes=attributes)

    def root_hub(self, controller: str, bus: int, version: int = 2) -> str:
        told = {"DEVTYPE": "usb_device", "PRODUCT": f"1d6b/{version}/602"}
        serial = {"serial": controller.rpartition("/")[2]}
        return self.add(f"{controller}/usb{bus}", "usb", told, serial, dev=f"bus/usb/{bus:03}/001")

    def usb(self, hub: str, port: int, product: str = "403/6015/1000", **attributes: str) -> str:
        """A USB device on a port of a hub, named as the kernel names it."""
        above = hub.rpartition("/")[2]
        name = f"{above[3:]}-{port}" if above.startswith("usb") else f"{above}.{port}"
        told = {"DEVTYPE": "usb_device", "PRODUCT": product}
        dev = f"bus/usb/{name.replace('-', '/').replace('.', '/')}"
        return self.add(f"{hub}/{name}", "usb", told, attributes, dev=dev)

    def interface(self, device: str, number: int) -> str:
        name = f"{device.rpartition('/')[2]}:1.{number}"
        return self.add(f"{device}/{name}", "usb", {"DEVTYPE": "usb_interface"})

    def node(self, parent: str, subsystem: str, name: str, **properties: str) -> str:
        """A class device with a device node, in the folder of its class."""
        return self.add(f"{parent}/{subsystem}/{name}", subsystem, properties, dev=name)

    def tree(self) -> Tree:
        return Tree(self.nodes.values(), lambda path, name: self.attributes.get((path, name)))

    def without(self, top: str) -> "Machine":
        """The machine after `top` and all below it was unplugged."""
        kept = {
            path: node for path, node in self.nodes.items() if not f"{path}/".startswith(f"{top}/")
        }
        return Machine(kept, self.attributes)


def resource(name: str, *select: object, **changes: object) -> Resource:
    """A resource with those select terms; `group` as in the configuration, `exclude` terms too."""
    terms, faults = parse_terms(list(select))
    unwanted = changes.pop("exclude", ())
    excluded, more = parse_terms(unwanted) if unwanted else ((), ())
    assert (faults, more) == ((), ())
    by, _, key = str(changes.pop("group", "")).partition(" ")
    group = Group(GroupBy(by), key) if by else None
    return Resource(ResourceName(f"ringbolt.dev/{name}"), terms, excluded, group, **changes)  # type: ignore[arg-type]


def numbers(start: int = 0) -> Iterator[int]:
    """The kernel's counter of one kind of name."""
    while True:
        yield start
        start += 1
