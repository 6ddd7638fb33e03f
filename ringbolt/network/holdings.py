"""What a pod holds in the kernel, as values: each object with its purpose and faults.

Values only. How they are looked at (`sight`) and judged (`pod_holdings`, `node_holdings`,
`filter_holdings`) is decided elsewhere, and so is how they are shown.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from ringbolt.network.leases import Lease
from ringbolt.network.record import Record
from ringbolt.network.settings import Settings

Fact = str | int | bool | tuple[str, ...]
Facts = Mapping[str, Fact]


class Kind(enum.Enum):
    """What sort of object."""

    NAMESPACE = "namespace"
    LINK = "link"
    ADDRESS = "address"
    ROUTE = "route"
    NEIGHBOUR = "neighbour"
    QDISC = "qdisc"
    ELEMENT = "element"
    CHAIN = "chain"
    FLOWS = "flows"
    LEASE = "lease"


class Place(enum.Enum):
    """Whose side it is on."""

    POD = "pod"
    NODE = "node"


class State(enum.Enum):
    """How an object is, compared with what was set up."""

    THERE = "there"
    DIFFERS = "differs"
    MISSING = "missing"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"
    """There, and not of our making: plugins behind us and people may add to a pod."""


@dataclass(frozen=True, slots=True)
class Holding:
    """One object. `fault` says in a sentence what is wrong, "" where nothing is known to be."""

    kind: Kind
    place: Place
    name: str
    purpose: str
    state: State = State.THERE
    fault: str = ""
    facts: Facts = field(default_factory=dict[str, Fact])


class Health(enum.Enum):
    """How an attachment is."""

    WELL = "well"
    DIFFERS = "differs"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Held:
    """One attachment with all that belongs to it.

    `death` says why it is dead, "" while it lives. `settings` are the network's; `guessed` where
    nobody told them and they were read off the kernel. `age_s` since its lease was given.
    """

    lease: Lease
    record: Record
    settings: Settings
    guessed: bool
    age_s: float
    death: str
    holdings: tuple[Holding, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with its objects."""
        return tuple(one.fault for one in self.holdings if one.fault)

    @property
    def health(self) -> Health:
        """How it is in one word."""
        if self.death:
            return Health.DEAD
        return Health.DIFFERS if self.faults else Health.WELL
