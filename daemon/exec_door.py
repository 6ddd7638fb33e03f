"""What stands behind the agent's socket: for each kind of launcher a door, as one function.

The only place that knows both a frame and the doors' own values.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from cni import call as cni_call
from cni import door as cni_door
from daemon import frame
from daemon.network_metrics import NetworkMetrics
from daemon.spool import container_key
from flexvolume import answer as volume_answer
from flexvolume import call as volume_call
from flexvolume import door as volume_door
from ringbolt.volumes.deadline import Deadline

_PER_CONTAINER = frozenset({"ADD", "CHECK", "DEL"})
_COMMANDS = frozenset({"ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"})
_QUICK = frozenset({"STATUS", "VERSION"})
_LIMITS_S = {"DEL": 9.0, "STATUS": 0.18, "VERSION": 0.18}
_LIMIT_S = 19.0  # a second before the launcher gives up, so that it hears why
_VOLUME_LIMIT_S = 105.0
_VOLUME_S = 95.0
"""For the room, so that what it says of a call that takes too long is heard."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to answer and what to log of it: never stdin, never options."""

    answer: frame.Answer
    facts: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def done(self) -> bool:
        """Whether the caller has what it asked for; FlexVolume's exit code is always 0."""
        return self.answer.code == 0 and "error" not in self.facts


Door = Callable[[frame.Call, int | None], Outcome]
"""Serves one call in the calling thread, with CNI_NETNS open or None; must not raise."""


def open_cni_door(
    network: cni_door.Network, aside: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Door:
    """The CNI door to this room; `aside` is entered while a call waits for another process."""

    def serve(call: frame.Call, netns_fd: int | None) -> Outcome:
        asked = cni_call.Call(call.environment, call.stdin, netns_fd, call.age_s, aside)
        reply = cni_door.handle(asked, network)
        return Outcome(frame.Answer(reply.code, reply.stdout), reply.facts)

    return serve


class VolumeSource(Protocol):
    """Who has the room of volumes."""

    def room(self) -> volume_door.Room:
        """The room, opened now if it was not. Raises OSError."""
        ...


def open_volume_door(volumes: VolumeSource) -> Door:
    """The FlexVolume door to this room."""

    def serve(call: frame.Call, _netns_fd: int | None) -> Outcome:
        asked = volume_call.Call(call.arguments[1:], call.environment)
        reply = volume_door.handle(asked, volumes.room, Deadline.after(_VOLUME_S))
        return Outcome(frame.Answer(0, reply.stdout), reply.facts)

    return serve


def measured(door: Door, metrics: NetworkMetrics) -> Door:
    """The same door, whose time for each call is kept."""

    def serve(call: frame.Call, netns_fd: int | None) -> Outcome:
        started = monotonic()
        outcome = door(call, netns_fd)
        took = monotonic() - started
        command, result = _measure(call, outcome)
        metrics.exec_called(call.kind.name.lower(), command, took, result)
        return outcome

    return serve


def refusal(call: frame.Call, reason: str) -> bytes:
    """What a caller is told whose call is not tried, or not waited for.

    A kubelet gets the reason in its own words; a runtime's launcher does what the contract wants.
    """
    if call.kind is frame.Kind.FLEXVOLUME:
        told = volume_answer.encode(volume_answer.Outcome.TRY_AGAIN, reason)
        return frame.encode_answer(frame.Answer(0, told))
    return frame.encode_refusal(reason)


def _measure(call: frame.Call, outcome: Outcome) -> tuple[str, str]:
    """What was called and what came of it, in words that are few."""
    if call.kind is frame.Kind.FLEXVOLUME:
        return outcome.facts["call"], outcome.facts["outcome"]
    word = call.environment.get("CNI_COMMAND", "")
    return word if word in _COMMANDS else "other", "ok" if outcome.done else "failed"


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
    if call.kind is frame.Kind.FLEXVOLUME:
        target = volume_door.target_of(call.arguments[1:])
        return Treatment(key=os.path.normpath(target) if target else "", limit_s=_VOLUME_LIMIT_S)
    command = call.environment.get("CNI_COMMAND", "")
    container_id = call.environment.get("CNI_CONTAINERID", "")
    return Treatment(
        key=container_key(container_id) if container_id and command in _PER_CONTAINER else "",
        quick=command in _QUICK,
        owed=command == "DEL",
        limit_s=_LIMITS_S.get(command, _LIMIT_S),
    )
