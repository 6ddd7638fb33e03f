"""A FUSE server in a thread: one file whose reads and writes can fail, lie or hang as a test wants.

With a loop device over that file there are disks that no shop sells. The protocol is that of
linux/fuse.h, 7.31; what a file of one size needs, and ENOSYS for the rest.
"""

import errno
import os
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ringbolt.linux import mount

NAME = "disk"

_ROOT, _FILE = 1, 2
_IN = struct.Struct("=IIQQIIIHH")
_OUT = struct.Struct("=IiQ")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_BUFFER = 1 << 20

(LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE) = (1, 2, 3, 4, 14, 15, 16)
(STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, RELEASEDIR) = (17, 18, 20, 25, 26, 27, 29)
(INTERRUPT, DESTROY, BATCH_FORGET) = (36, 38, 42)
_SILENT = {FORGET, BATCH_FORGET, INTERRUPT, DESTROY}
_OPENED = struct.pack("=QII", 0, 1, 0)
"""With FOPEN_DIRECT_IO every read is ours."""

_CONSTANT = {
    INIT: struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 16, 12, 128 << 10, 1, 0, 0, 0),
    STATFS: struct.pack("=QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0),
    OPEN: _OPENED,
    OPENDIR: _OPENED,
    **dict.fromkeys((RELEASE, FSYNC, FLUSH, RELEASEDIR), b""),
}


@dataclass
class File:
    """`content` is what it holds; `on_read` and `on_write` may raise OSError, block, or answer."""

    size: int
    content: bytearray = field(repr=False)
    on_read: Callable[[int, bytes], bytes] = lambda _offset, data: data
    on_write: Callable[[int, bytes], None] = lambda _offset, _data: None


@contextmanager
def served(folder: Path, size: int) -> Generator[File]:
    """The file `disk` in `folder`, of `size` bytes, served until the end."""
    file = File(size, bytearray(size))
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    server = threading.Thread(target=serve, args=(fd, file), daemon=True)
    try:
        options = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
        mount.mount("lab", str(folder), "fuse", mount.MS_NOSUID | mount.MS_NODEV, options)
        server.start()
        try:
            yield file
        finally:
            mount.umount(str(folder), mount.MNT_DETACH)
            server.join()
    finally:
        os.close(fd)


def serve(fd: int, file: File, before: Callable[[], None] = lambda: None) -> None:
    """Until it is unmounted: then reading fails with ENODEV. `before` each answer, to wait."""
    with suppress(OSError):
        while True:
            request = os.read(fd, _BUFFER + 4096)
            _length, opcode, unique, node, *_ = _IN.unpack_from(request)
            if opcode in _SILENT:
                continue
            before()
            try:
                answer, code = _answer(opcode, node, request[_IN.size :], file), 0
            except OSError as error:
                answer, code = b"", -(error.errno or errno.EIO)
            with suppress(FileNotFoundError):  # it was interrupted meanwhile
                os.write(fd, _OUT.pack(_OUT.size + len(answer), code, unique) + answer)


def _answer(opcode: int, node: int, body: bytes, file: File) -> bytes:
    if opcode == READ:
        _handle, offset, length = struct.unpack_from("=QQI", body)
        return file.on_read(offset, bytes(file.content[offset : offset + length]))
    if opcode == WRITE:
        return _write(body, file)
    if opcode == LOOKUP:
        if body.rstrip(b"\0").decode() != NAME:
            raise OSError(errno.ENOENT, "no such file")
        return struct.pack("=QQQQII", _FILE, 0, 0, 0, 0, 0) + _attributes(_FILE, file)
    if opcode in {GETATTR, SETATTR}:
        return struct.pack("=QII", 0, 0, 0) + _attributes(node, file)
    if (answer := _CONSTANT.get(opcode)) is None:
        raise OSError(errno.ENOSYS, f"opcode {opcode}")
    return answer


def _write(body: bytes, file: File) -> bytes:
    _handle, offset, length = struct.unpack_from("=QQI", body)
    data = body[40 : 40 + length]
    file.on_write(offset, data)
    file.content[offset : offset + length] = data
    return struct.pack("=II", length, 0)


def _attributes(node: int, file: File) -> bytes:
    mode, size = (0o040755, 0) if node == _ROOT else (0o100600, file.size)
    return _ATTR.pack(node, size, size // 512, *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)
