"""The agent's socket: takes the launchers' calls, has doors serve them, answers, logs a line each.

Everything is bounded: calls, bytes, time. What cannot be served is refused, and the launcher does
what it does when the agent is away. Calls of one container are served one after another; DELs that
were spooled come before them. What a call means is the doors' matter.

A call is served by the thread that takes it: each hand-over would cost it as much as its work. The
event loop has what is slow: frames in pieces, deadlines, the spool. Its threads are not joined at
the end: a call that hangs in the kernel must not hang SIGTERM too.
"""

import asyncio
import errno
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from daemon import exec_socket, frame
from daemon.exec_deadlines import Deadlines
from daemon.exec_door import Door, Outcome, Treatment, treatment
from daemon.exec_exchange import Exchange, level_of
from daemon.exec_lane import FullError, Lane
from daemon.exec_lead import Lead
from daemon.frame import Kind
from daemon.lean import structlog
from daemon.spool import Spool, key_of, read_frame
from ringbolt.linux import visitors

THREADS = 4
_INTAKE = THREADS + 2
"""As many as may be slow at the same time, one for what is quick, one to take the next call."""
VOLUME_THREADS = 128
"""More than pods on a node: a volume whose server is gone keeps its own calls waiting, no other."""
_VOLUME_BEHIND = 2
"""Of one target; a kubelet makes no call before its last has ended, but it may be started anew."""
_OVER = frozenset({errno.EINVAL, errno.EBADF})
_NO_DESCRIPTOR_S = 0.1
CALLS_MAX = 1024
BYTES_MAX = 64 << 20
RECEIVE_S = 5.0
DRAIN_S = 5.0
RETRY_S = 60.0
_HOPELESS = frozenset({"1", "4", "6", "7"})
"""Codes of calls that fail again however often they are made."""

_log = structlog.get_logger()


class ExecServer:
    """Serves the launchers at `path` with `doors`, by threads of which one leads."""

    def __init__(self, path: Path, doors: Mapping[Kind, Door], lead: Lead | None = None) -> None:
        self._path = path
        self._doors = doors
        self._lead = lead or Lead()
        self.spool = Spool(path.parent / "spool")
        self._lane = Lane(threads=THREADS, limit=CALLS_MAX)
        self._quick = Lane(threads=1, limit=CALLS_MAX)
        self._volumes = Lane(threads=VOLUME_THREADS, limit=CALLS_MAX, behind=_VOLUME_BEHIND)
        self._met = deque[tuple[Exchange, Treatment]]()
        self._tasks = set[asyncio.Task[None]]()
        self._turn = threading.Lock()
        self._calls = 0
        self._bytes = 0
        self._drained: asyncio.Event | None = None
        self._hint = asyncio.Event()

    @property
    def calls(self) -> int:
        """How many callers are connected."""
        return self._calls

    @property
    def is_busy(self) -> bool:
        """Whether a pod is being attached or detached."""
        return len(self._lane) > 0

    def nudge(self, _changed: Path | None = None) -> None:
        """Something may lie in the spool."""
        self._hint.set()

    async def run(self) -> None:
        """Serve until cancelled; then refuse new calls and let those that run end."""
        listener = await self._bind()
        inode = self._path.stat().st_ino
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(_tell_late)
        for number in range(_INTAKE):
            name = f"exec call {number}"
            threading.Thread(target=self._take, args=(listener,), name=name, daemon=True).start()
        try:
            await self._replay_for_ever()
        finally:
            exec_socket.unbind(self._path, inode)
            listener.shutdown(socket.SHUT_RDWR)  # wakes those who wait for a call
            await self._drain()
            listener.close()

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
        drained = asyncio.Event()
        with self._turn:
            self._drained = drained
            if not self._calls:
                return
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await drained.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- The spool ---

    async def _replay_for_ever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._hint.wait()
            self._hint.clear()
            self._replay(await asyncio.to_thread(self.spool.pending))

    def _replay(self, paths: list[Path]) -> None:
        waiting = iter(paths)

        def work() -> None:
            while path := self._next_of(waiting):
                with suppress(FullError):  # there will be another round
                    self._lane.put(key_of(path), partial(self._redo, path))

        for _ in range(min(len(paths), THREADS)):
            threading.Thread(target=work, name="spool", daemon=True).start()

    def _next_of(self, waiting: Iterator[Path]) -> Path | None:
        with self._turn:
            return next(waiting, None)

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
            _log.log(level_of(done=done), "spooled call", done=done, **outcome.facts)
        except (frame.FrameError, KeyError) as error:
            _log.warning("a spooled call is unreadable", file=path.name, error=str(error))
            with suppress(OSError):
                path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("a spooled call was kept", file=path.name, error=str(error))

    # --- Calls ---

    def _take(self, listener: socket.socket) -> None:
        """Take calls and have them served whenever this thread leads."""
        visitors.lend_this_thread()
        while self._lead.follow():
            try:
                self._take_the_lead(listener)
            finally:
                self._lead.leave()

    def _take_the_lead(self, listener: socket.socket) -> None:
        """Go from call to call, until one takes so long that another thread leads.

        All who have come are met before one of them is served: a STATUS waits for no ADD but the
        one in hand, and whoever comes beyond the bounds is told so.
        """
        arrivals = select.poll()
        arrivals.register(listener, select.POLLIN)
        is_leading = True
        while is_leading:
            if self._met and not arrivals.poll(0):
                is_leading = self._go_on(self._have_met_served)
                continue
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if error.errno in _OVER:
                    while self._met:
                        self._go_on(self._have_met_served)
                    self._lead.finish()
                    return
                sleep(_NO_DESCRIPTOR_S)  # none is free, or the caller hung up: it tries again
                continue
            is_leading = self._go_on(partial(self._meet_or_close, connection))
            del connection

    def _go_on(self, work: Callable[[], None]) -> bool:
        """Do `work` as the leader; whether this thread leads still."""
        self._lead.begin()
        try:
            work()
        except Exception as error:  # noqa: BLE001  # the outermost frame of this thread
            _log.error("a call was lost", error=str(error), error_type=type(error).__name__)
        return self._lead.end()

    def _have_met_served(self) -> None:
        try:
            exchange, plan = self._met.popleft()
        except IndexError:  # another leader was faster
            return
        self._have_served(exchange, plan)

    def _meet_or_close(self, connection: socket.socket) -> None:
        try:
            self._meet(connection)
        except Exception:
            connection.close()
            raise

    def _meet(self, connection: socket.socket) -> None:
        if exec_socket.peer_uid(connection) not in (0, os.geteuid()):
            _log.warning("a call by somebody who is not root was refused")
            connection.close()
            return
        if self._drained:  # the next agent's: unanswered, the launcher tries again
            connection.close()
            return
        if not self._count():
            exec_socket.send(connection, frame.encode_refusal("too many calls wait"))
            return
        received = exec_socket.Received(self._reserve)
        try:
            whole = received.receive_now(connection)
            if not whole:
                self._loop.call_soon_threadsafe(self._wait_for, connection, received)
                return
            exchange = self._read(connection, received)
        except (frame.FrameError, EOFError, OSError, RuntimeError) as error:
            self._turn_away(connection, received, str(error))
            return
        if exchange.call.kind is Kind.FLEXVOLUME:  # it may hang, and this thread takes calls
            self._have_served_apart(exchange)
            return
        plan = self._expect(exchange)
        if plan.quick:
            self._have_served(exchange, plan)
        else:
            self._met.append((exchange, plan))

    def _have_served_apart(self, exchange: Exchange) -> None:
        try:
            work = partial(self._have_served, exchange, self._expect(exchange))
            threading.Thread(target=work, daemon=True).start()
        except RuntimeError as error:  # the system has no thread left
            exchange.refuse(str(error))
            self._end(exchange)

    def _count(self) -> bool:
        """Count one call more, unless there are too many."""
        with self._turn:
            room = self._calls < CALLS_MAX
            self._calls += room
            return room

    def _reserve(self, size: int) -> None:
        """Count the bytes of a frame that comes. Raises FrameError where there is no room."""
        with self._turn:
            if self._bytes + size > BYTES_MAX:
                raise frame.FrameError(f"no room for {size} bytes beside the calls that wait")
            self._bytes += size

    def _wait_for(self, connection: socket.socket, received: exec_socket.Received) -> None:
        task = self._loop.create_task(self._receive(connection, received))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receive(self, connection: socket.socket, received: exec_socket.Received) -> None:
        """Wait for a frame that comes in pieces, and have it served by a thread of its own."""
        try:
            async with asyncio.timeout(RECEIVE_S):
                await received.receive(connection)
            exchange = self._read(connection, received)
        except (frame.FrameError, EOFError, OSError, TimeoutError) as error:
            reason = str(error) or "the frame did not come in time"
            self._turn_away(connection, received, reason)
        except BaseException:
            self._turn_away(connection, received, "the agent ends")
            raise
        else:
            self._have_served_apart(exchange)

    def _read(self, connection: socket.socket, received: exec_socket.Received) -> Exchange:
        call = frame.parse_call(bytes(received.data))
        if call.kind not in self._doors:
            raise frame.FrameError(f"{call.kind.name} calls are not served")
        return Exchange(connection, call, received.take(), received.reserved)

    def _turn_away(
        self, connection: socket.socket, received: exec_socket.Received, reason: str
    ) -> None:
        _log.warning("a call was refused", reason=reason)
        received.close()
        exec_socket.send(connection, frame.encode_refusal(reason))
        self._forget(received.reserved)

    def _expect(self, exchange: Exchange) -> Treatment:
        """From now on it is known when the call is late."""
        plan = treatment(exchange.call)
        self._deadlines.add(exchange, plan.limit_s)
        return plan

    def _have_served(self, exchange: Exchange, plan: Treatment) -> None:
        lane = self._quick if plan.quick else self._lane
        if exchange.call.kind is Kind.FLEXVOLUME:
            lane = self._volumes
        try:
            lane.put(plan.key, partial(self._serve, exchange, plan))
        except FullError as error:
            exchange.refuse(str(error))
            self._end(exchange)

    def _serve(self, exchange: Exchange, plan: Treatment) -> None:
        outcome = self._work(exchange, plan)
        self._end(exchange)
        if outcome:
            exchange.report(outcome)

    def _work(self, exchange: Exchange, plan: Treatment) -> Outcome | None:
        """Serve one call; None if nobody waits for it any more."""
        try:
            if exchange.gone and not plan.owed:
                return None
            exchange.started = monotonic()
            for path in self.spool.pending(plan.key) if plan.key else ():
                self._redo(path)
            outcome = self._doors[exchange.call.kind](exchange.call, exchange.netns_fd)
            exchange.answer(frame.encode_answer(outcome.answer))
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller must hear of it
            exchange.answer(frame.encode_refusal(str(error)))
            facts = {"error": str(error), "error_type": type(error).__name__}
            return Outcome(frame.Answer(1, b""), facts)
        else:
            return outcome

    def _end(self, exchange: Exchange) -> None:
        self._deadlines.discard(exchange)
        exchange.close()
        self._forget(exchange.size)

    def _forget(self, size: int) -> None:
        with self._turn:
            self._bytes -= size
            self._calls -= 1
            drained = None if self._calls else self._drained
        if drained:
            with suppress(RuntimeError):  # the loop has closed: nobody waits any more
                self._loop.call_soon_threadsafe(drained.set)


def _tell_late(exchange: Exchange) -> None:
    exchange.refuse("it was not served in time")
