"""One call at the agent's socket and its caller: answered once, by who is first; its log line."""

import logging
import os
import socket
import threading
from time import monotonic

from daemon import exec_socket, frame
from daemon.exec_door import Outcome, refusal
from daemon.lean import structlog
from flexvolume.door import target_of

_log = structlog.get_logger()


class Exchange:
    """Owns its connection and the namespace's descriptor; `size` is of the frame, in bytes."""

    def __init__(
        self, connection: socket.socket, call: frame.Call, netns_fd: int | None, size: int
    ) -> None:
        self.call = call
        self.netns_fd = netns_fd
        self.size = size
        self.came = monotonic()
        self.started: float | None = None
        self._connection = connection
        self._lock = threading.Lock()
        self._answered = False

    @property
    def gone(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return self._answered or exec_socket.is_gone(self._connection)

    def answer(self, data: bytes) -> bool:
        """Answer unless that was done; whether the caller has this answer."""
        with self._lock:
            if self._answered:
                return False
            self._answered = True
        return exec_socket.send(self._connection, data)

    def refuse(self, reason: str) -> None:
        """Tell the caller that its call is not tried, or not waited for, and log it."""
        if not self.answer(refusal(self.call, reason)):
            return
        _log.warning("exec call refused", reason=reason, **named(self.call))

    def close(self) -> None:
        """Close the namespace, for the door is done with it; hang up on who was not answered."""
        with self._lock:
            if not self._answered:
                self._answered = True
                self._connection.close()
        if self.netns_fd is not None:
            os.close(self.netns_fd)
            self.netns_fd = None

    def report(self, outcome: Outcome) -> None:
        """The one line of a call; a STATUS that is well comes every 5 s and tells nothing."""
        now = monotonic()
        started = self.started or now
        done = outcome.done
        quiet = done and outcome.facts.get("command") in ("STATUS", "VERSION")
        _log.log(
            level_of(done=done, quiet=quiet),
            "exec call",
            kind=self.call.kind.name.lower(),
            exit_code=outcome.answer.code,
            waited_ms=round((started - self.came) * 1000, 2),
            took_ms=round((now - started) * 1000, 2),
            **outcome.facts,
        )


def named(call: frame.Call) -> dict[str, str]:
    """What tells a call from others in a log: who and where, never an option."""
    if call.kind is frame.Kind.FLEXVOLUME:
        target = target_of(call.arguments[1:])
        return {"call": next(iter(call.arguments[1:2]), "")[:40], "target": target}
    variables = call.environment
    return {
        "command": variables.get("CNI_COMMAND", ""),
        "container_id": variables.get("CNI_CONTAINERID", ""),
    }


def level_of(*, done: bool, quiet: bool = False) -> int:
    """How loud a call's line is."""
    if quiet:
        return logging.DEBUG
    return logging.INFO if done else logging.WARNING
