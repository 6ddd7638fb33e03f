"""What stands behind the agent's socket: for each kind of launcher a door, as one function.

The only place that knows both a frame and the doors' own values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from cni import call as cni_call
from cni import door as cni_door
from daemon import frame
from daemon.network_metrics import NetworkMetrics
from daemon.spool import container_key

_PER_CONTAINER = frozenset({"ADD", "CHECK", "DEL"})
_COMMANDS = frozenset({"ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"})
_QUICK = frozenset({"STATUS", "VERSION"})
_LIMITS_S = {"DEL": 9.0, "STATUS": 0.18, "VERSION": 0.18}
_LIMIT_S = 19.0  # a second before the launcher gives up, so that it hears why


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to answer and what to log of it: never stdin, never options."""

    answer: frame.Answer
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


Door = Callable[[frame.Call, int | None], Outcome]
"""Serves one call in the calling thread, with CNI_NETNS open or None; must not raise."""


def open_cni_door(network: cni_door.Network) -> Door:
    """The CNI door to this room."""

    def serve(call: frame.Call, netns_fd: int | None) -> Outcome:
        asked = cni_call.Call(call.environment, call.stdin, netns_fd)
        reply = cni_door.handle(asked, network)
        return Outcome(frame.Answer(reply.code, reply.stdout), reply.facts)

    return serve


def measured(door: Door, metrics: NetworkMetrics) -> Door:
    """The same door, whose time for each call is kept."""

    def serve(call: frame.Call, netns_fd: int | None) -> Outcome:
        started = monotonic()
        outcome = door(call, netns_fd)
        word = call.environment.get("CNI_COMMAND", "")
        command = word if word in _COMMANDS else "other"
        took = monotonic() - started
        metrics.exec_called(call.kind.name.lower(), command, took, failed=outcome.answer.code != 0)
        return outcome

    return serve


@dataclass(frozen=True, slots=True)
class Treatment:
    """How a call is queued: after those of the same container, or in the quick lane; until when.

    `owed`: it is done even if nobody waits for it any more.
    """

    key: str = ""
    quick: bool = False
    owed: bool = False
    limit_s: float = _LIMIT_S


def treatment(call: frame.Call) -> Treatment:
    """How this call is queued."""
    if call.kind is not frame.Kind.CNI:
        return Treatment(limit_s=100.0)
    command = call.environment.get("CNI_COMMAND", "")
    container_id = call.environment.get("CNI_CONTAINERID", "")
    return Treatment(
        key=container_key(container_id) if container_id and command in _PER_CONTAINER else "",
        quick=command in _QUICK,
        owed=command == "DEL",
        limit_s=_LIMITS_S.get(command, _LIMIT_S),
    )
