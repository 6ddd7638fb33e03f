"""The agent's socket: takes the launchers' calls, has doors serve them, answers, logs a line each.

Everything is bounded: calls, bytes, time. What cannot be served is refused, and the launcher does
what it does when the agent is away. Calls of one container are served one after another; DELs that
were spooled come before them. What a call means is the doors' matter.
"""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic

from daemon import exec_socket, frame
from daemon.exec_door import Door, Outcome, Treatment, treatment
from daemon.exec_lane import FullError, Lane
from daemon.frame import Kind
from daemon.lean import structlog
from daemon.spool import Spool, key_of, read_frame

THREADS = 4
CALLS_MAX = 1024
BYTES_MAX = 64 << 20
RECEIVE_S = 5.0
DRAIN_S = 5.0
RETRY_S = 60.0
_HOPELESS = frozenset({"1", "4", "6", "7"})
"""Codes of calls that fail again however often they are made."""

_log = structlog.get_logger()


class _Exchange:
    """One call and its caller, who is answered once, by whoever is first."""

    def __init__(self, connection: socket.socket, call: frame.Call, netns_fd: int | None) -> None:
        self.call = call
        self.netns_fd = netns_fd
        self.came = monotonic()
        self.started: float | None = None
        self._connection = connection
        self._lock = threading.Lock()
        self._answered = False

    @property
    def gone(self) -> bool:
        return self._answered or exec_socket.is_gone(self._connection)

    def answer(self, data: bytes) -> bool:
        """Answer unless that was done; whether the caller has this answer."""
        with self._lock:
            if self._answered:
                return False
            self._answered = True
        return exec_socket.send(self._connection, data)

    def close(self) -> None:
        """Close the namespace, for the door is done with it; hang up on who was not answered."""
        with self._lock:
            if not self._answered:
                self._answered = True
                self._connection.close()
        if self.netns_fd is not None:
            os.close(self.netns_fd)
            self.netns_fd = None


class ExecServer:
    """Serves the launchers at `path` with `doors`."""

    def __init__(self, path: Path, doors: Mapping[Kind, Door]) -> None:
        self._path = path
        self._doors = doors
        self.spool = Spool(path.parent / "spool")
        self._lane = Lane("exec call", threads=THREADS, limit=CALLS_MAX)
        self._quick = Lane("quick exec call", threads=1, limit=CALLS_MAX)
        self._tasks = set[asyncio.Task[None]]()
        self._bytes = 0
        self._hint = asyncio.Event()

    def nudge(self, _changed: Path | None = None) -> None:
        """Something may lie in the spool."""
        self._hint.set()

    async def run(self) -> None:
        """Serve until cancelled; then refuse new calls and let those that run end."""
        listener = await self._bind()
        inode = self._path.stat().st_ino
        loop = asyncio.get_running_loop()
        loop.add_reader(listener, self._accept, listener)
        try:
            await self._replay_for_ever()
        finally:
            loop.remove_reader(listener)
            exec_socket.unbind(self._path, inode)
            listener.close()
            await self._drain()

    async def _bind(self) -> socket.socket:
        """The listening socket; until it can be had, the agent does what else it is there for."""
        while True:
            try:
                await asyncio.to_thread(self.spool.prepare)
                self._replay(await asyncio.to_thread(self.spool.pending))
                return exec_socket.bind(self._path)
            except OSError as error:
                _log.error("no launcher can call", socket=str(self._path), error=str(error))
            await asyncio.sleep(RETRY_S)

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)
        for task in self._tasks:
            task.cancel()

    # --- The spool ---

    async def _replay_for_ever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._hint.wait()
            self._hint.clear()
            self._replay(await asyncio.to_thread(self.spool.pending))

    def _replay(self, paths: list[Path]) -> None:
        for path in paths:
            with suppress(FullError):  # there will be another round
                self._lane.put(key_of(path), partial(self._redo, path))

    def _redo(self, path: Path) -> None:
        """Serve one spooled call, in a thread of the lane; drop it unless it may succeed later."""
        try:
            call = read_frame(path)
            if call is None:
                return
            outcome = self._doors[call.kind](call, None)
            done = outcome.answer.code == 0
            if done or outcome.facts.get("code") in _HOPELESS:
                path.unlink(missing_ok=True)
            _log.log(_level(done=done), "spooled call", done=done, **outcome.facts)
        except (frame.FrameError, KeyError) as error:
            _log.warning("a spooled call is unreadable", file=path.name, error=str(error))
            with suppress(OSError):
                path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("a spooled call was kept", file=path.name, error=str(error))

    # --- Calls ---

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # the caller hung up, or no descriptor is free: it tries again
            return
        connection.settimeout(0)
        if exec_socket.peer_uid(connection) not in (0, os.geteuid()):
            _log.warning("a call by somebody who is not root was refused")
            connection.close()
            return
        if len(self._tasks) >= CALLS_MAX:
            exec_socket.send(connection, frame.encode_refusal("too many calls wait"))
            return
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        received = exec_socket.Received()
        try:
            exchange = await self._receive(connection, received)
        except (frame.FrameError, EOFError, OSError, TimeoutError) as error:
            reason = str(error) or "the frame did not come in time"
            _log.warning("a call was refused", reason=reason)
            exec_socket.send(connection, frame.encode_refusal(reason))
            return
        except BaseException:
            connection.close()
            raise
        finally:
            received.close()
        size = len(received.data)
        self._bytes += size
        try:
            await self._have_served(exchange)
        finally:
            self._bytes -= size

    async def _receive(
        self, connection: socket.socket, received: exec_socket.Received
    ) -> _Exchange:
        async with asyncio.timeout(RECEIVE_S):
            await received.receive(connection, budget=BYTES_MAX - self._bytes)
        call = frame.parse_call(bytes(received.data))
        if call.kind not in self._doors:
            raise frame.FrameError(f"{call.kind.name} calls are not served")
        return _Exchange(connection, call, received.take())

    async def _have_served(self, exchange: _Exchange) -> None:
        plan = treatment(exchange.call)
        loop = asyncio.get_running_loop()
        served: asyncio.Future[Outcome | None] = loop.create_future()

        def job() -> None:
            outcome = self._work(exchange, plan)
            with suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, served, outcome)

        try:
            (self._quick if plan.quick else self._lane).put(plan.key, job)
            async with asyncio.timeout(plan.limit_s):
                outcome = await served
        except FullError as error:
            self._refuse(exchange, str(error))
            exchange.close()
        except TimeoutError:
            self._refuse(exchange, f"it was not served within {plan.limit_s:g} s")
        else:
            if outcome:
                _report(exchange, outcome)

    def _work(self, exchange: _Exchange, plan: Treatment) -> Outcome | None:
        """Serve one call, in a thread of a lane; None if nobody waits for it any more."""
        try:
            if exchange.gone and not plan.owed:
                return None
            exchange.started = monotonic()
            for path in self.spool.pending(plan.key) if plan.key else ():
                self._redo(path)
            outcome = self._doors[exchange.call.kind](exchange.call, exchange.netns_fd)
            exchange.answer(frame.encode_answer(outcome.answer))
        except Exception as error:  # noqa: BLE001  # the outermost frame of this thread
            exchange.answer(frame.encode_refusal(str(error)))
            facts = {"error": str(error), "error_type": type(error).__name__}
            return Outcome(frame.Answer(1, b""), facts)
        else:
            return outcome
        finally:
            exchange.close()

    def _refuse(self, exchange: _Exchange, reason: str) -> None:
        exchange.answer(frame.encode_refusal(reason))
        variables = exchange.call.environment
        named = {
            "command": variables.get("CNI_COMMAND", ""),
            "container_id": variables.get("CNI_CONTAINERID", ""),
        }
        _log.warning("exec call refused", reason=reason, **named)


def _settle(served: "asyncio.Future[Outcome | None]", outcome: Outcome | None) -> None:
    if not served.done():
        served.set_result(outcome)


def _report(exchange: _Exchange, outcome: Outcome) -> None:
    """The one line of a call; a STATUS that is well comes every 5 s and tells nothing."""
    now = monotonic()
    started = exchange.started or now
    done = outcome.answer.code == 0
    quiet = done and outcome.facts.get("command") in ("STATUS", "VERSION")
    _log.log(
        _level(done=done, quiet=quiet),
        "exec call",
        kind=exchange.call.kind.name.lower(),
        exit_code=outcome.answer.code,
        waited_ms=round((started - exchange.came) * 1000, 2),
        took_ms=round((now - started) * 1000, 2),
        **outcome.facts,
    )


def _level(*, done: bool, quiet: bool = False) -> int:
    if quiet:
        return logging.DEBUG
    return logging.INFO if done else logging.WARNING
