"""The socket where launcher and agent meet: bound without a gap, root's alone, frames off it."""

import array
import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from daemon import frame

BACKLOG = 1024
_CHUNK = 1 << 16
_CREDENTIALS = struct.Struct("3i")
_DESCRIPTORS_MAX = 4
_SEND_S = 2.0
_AT_ONCE_S = 0.01
"""A launcher sends right after it has connected; whoever does not is waited for elsewhere."""


def bind(path: Path) -> socket.socket:
    """A listening socket at `path` that blocks, in the place of any older one. Raises OSError.

    It takes its name only when it listens, so a launcher finds the old agent or the new one.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = f".{path.name}.{os.getpid()}"
    try:
        path.with_name(new).unlink(missing_ok=True)
        listener.bind(f"/proc/self/fd/{folder}/{new}")  # a long path does not fit otherwise
        path.with_name(new).chmod(0o600)
        listener.listen(BACKLOG)
        path.with_name(new).replace(path)
    except BaseException:
        listener.close()
        path.with_name(new).unlink(missing_ok=True)
        raise
    finally:
        os.close(folder)
    return listener


def unbind(path: Path, inode: int) -> None:
    """Take the name away, unless a newer agent has it already, or the disk keeps what it has."""
    with suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()


def peer_uid(connection: socket.socket) -> int:
    """Whose process called, as this user namespace sees it."""
    size = _CREDENTIALS.size
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(_CREDENTIALS.unpack(found)[1])


def is_gone(connection: socket.socket) -> bool:
    """Whether the caller has hung up."""
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def send(connection: socket.socket, data: bytes) -> bool:
    """Answer and hang up; whether the caller was still there."""
    with connection:
        try:
            connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
            sent = connection.send(data)
            if sent < len(data):
                connection.settimeout(_SEND_S)
                connection.sendall(data[sent:])
        except OSError:
            return False
    return True


@dataclass
class Received:
    """A frame on its way in. Owns the descriptors that came with it until `take` gives one away.

    `reserve` is asked once, as soon as the frame's size is known, and raises FrameError where there
    is no room for it; `reserved` are the bytes that it granted.
    """

    reserve: Callable[[int], None]
    reserved: int = 0
    data: bytearray = field(default_factory=bytearray)
    descriptors: list[int] = field(default_factory=list[int])

    def take(self) -> int | None:
        """The first descriptor, now the caller's; the others are closed."""
        first = self.descriptors.pop(0) if self.descriptors else None
        self.close()
        return first

    def close(self) -> None:
        """Close what nobody took."""
        while self.descriptors:
            os.close(self.descriptors.pop())

    def receive_now(self, connection: socket.socket) -> bool:
        """Read a frame that comes at once and in one piece, as nearly all do; whether it did.

        Raises FrameError, OSError, EOFError.
        """
        connection.setblocking(False)  # noqa: FBT003  # the standard library's own signature
        try:
            self._read(connection, _CHUNK)
        except BlockingIOError:
            if not self._await(connection):
                return False
        if len(self.data) < frame.HEADER.size:
            return False
        return len(self.data) >= self._size()

    def _await(self, connection: socket.socket) -> bool:
        """Whether there was something to read in the moment that a launcher needs to send."""
        connection.settimeout(_AT_ONCE_S)
        try:
            self._read(connection, _CHUNK)
        except TimeoutError:
            return False
        finally:
            connection.setblocking(False)  # noqa: FBT003
        return True

    async def receive(self, connection: socket.socket) -> None:
        """Read the rest of one frame. Raises FrameError, OSError, EOFError."""
        await self._fill(connection, frame.HEADER.size)
        await self._fill(connection, self._size())

    def _size(self) -> int:
        if not self.reserved:
            header = frame.parse_header(bytes(self.data[: frame.HEADER.size]))
            size = frame.HEADER.size + header.length
            self.reserve(size)
            self.reserved = size
        return self.reserved

    async def _fill(self, connection: socket.socket, size: int) -> None:
        while len(self.data) < size:
            try:
                self._read(connection, size - len(self.data))
            except BlockingIOError:
                await _readable(connection)

    def _read(self, connection: socket.socket, size: int) -> None:
        room = socket.CMSG_LEN(_DESCRIPTORS_MAX * array.array("i").itemsize)
        chunk, messages, _, _ = connection.recvmsg(min(size, _CHUNK), room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, data in messages:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self.descriptors += numbers
        if not chunk:
            raise EOFError("the caller hung up within its frame")
        self.data += chunk


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
