"""One look at what this node needs, as a table of checks: each a small function to one finding.

What to check is in `doctor_node`, `doctor_network` and `doctor_volumes`; nothing here or there
changes the node.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.cni_networks import Networks, read_networks
from daemon.config import Config, load
from daemon.problem import ConfigError, Problem


class Verdict(enum.Enum):
    """FAIL stops pods, WARN may; or something beside them does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it ("" where nothing is to be done)."""

    verdict: Verdict
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are looked for."""

    config: Path
    kubelet_dir: Path
    run_dir: Path
    state_dir: Path
    cni_bin_dir: Path
    cni_conf_dir: Path
    socket: Path


@dataclass(frozen=True, slots=True)
class Node:
    """What all checks share. `config` is None where there is none, or `problems` say why not.

    `networks` are those that runtimes are told of; `lacks` what could not be read of them.
    """

    places: Places
    config: Config | None = None
    problems: tuple[Problem, ...] = ()
    networks: Networks | None = None
    lacks: tuple[str, ...] = ()

    @property
    def has_network(self) -> bool:
        """Whether pods get their network from us."""
        return bool(self.networks) or bool(self.config and self.config.network)


Check = Callable[[Node], Finding | None]
"""None: it is of no concern to this node."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A check's name with its finding."""

    name: str
    finding: Finding


def look(places: Places) -> Node:
    """What the checks share."""
    lacks: list[str] = []
    networks = read_networks(places.cni_conf_dir, lacks)
    config: Config | None = None
    problems: tuple[Problem, ...] = ()
    try:
        if places.config.exists():
            config = load(places.config)
    except ConfigError as error:
        problems = tuple(error.problems)
    return Node(places, config, problems, networks, tuple(lacks))


def examine(node: Node, checks: Sequence[tuple[str, Check]]) -> list[Checked]:
    """Every check that concerns this node; one that may not look is a warning."""
    found: list[Checked] = []
    for name, check in checks:
        try:
            finding = check(node)
        except OSError as error:
            reason = f"it cannot be told: {error}"
            finding = Finding(Verdict.WARN, reason, "run it as root, on the node itself")
        if finding:
            found.append(Checked(name, finding))
    return found
