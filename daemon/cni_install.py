"""Files that runtimes find the plugin by: put there whole, told to watchers, taken away again.

What is in them is decided elsewhere. Every function raises OSError with the path.
"""

import fcntl
import os
import platform
import stat
import sys
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ringbolt.network.leases import Leases
from ringbolt.network.ledger import Ledger

_SOURCE = Path(__file__).parents[1] / "build" / "launcher"
_INSTALLED = Path(sys.prefix, "share", "ringbolt", "launcher")


def find_launcher(folders: Sequence[Path] = (_SOURCE, _INSTALLED)) -> Path:
    """The launcher for this kind of machine, as a development install or the package built it."""
    places = [folder / f"launcher-{platform.machine()}" for folder in folders]
    if found := next((place for place in places if place.is_file()), None):
        return found
    looked = " and ".join(map(str, places))
    raise FileNotFoundError(2, "no launcher was built for this kind of machine", looked)


def place(path: Path, content: bytes, mode: int) -> bool:
    """Have `path` hold `content`; False if it did.

    It takes its name by a rename, closed: what runs an older one keeps it, and what execs it next
    never finds it half written or busy. A power cut leaves the old one or the new one.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with alone_in(path.parent) as folder:
        if _is_placed(path, content, mode):
            return False
        new = _new(path)
        try:
            _write(new, content, mode)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        os.fsync(folder)
    return True


def announce(path: Path) -> None:
    """Write the last byte again, so that containerd reads the file.

    Its watcher ignores what is created, which is all that a rename tells it, and hears of writes
    (containerd, internal/cri/server/cni_conf_syncer.go).
    """
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        last = os.fstat(fd).st_size - 1
        os.pwrite(fd, os.pread(fd, 1, last), last)
        os.fsync(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> bool:
    """Take `path` away, and what an interrupted `place` left; False if it was not there."""
    if not path.parent.is_dir():
        return False
    with alone_in(path.parent) as folder:
        _new(path).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            path.unlink()
            os.fsync(folder)
            return True
    return False


def count_attached(run_dir: Path) -> int:
    """How many interfaces of pods are attached. Raises NetworkError where that cannot be read."""
    if not any(run_dir.glob("leases-*.sqlite")):
        return 0
    with closing(Leases(Ledger(run_dir))) as leases:
        return len(leases.all())


@contextmanager
def alone_in(folder: Path) -> Generator[int]:
    """The open folder; one process of ours at a time."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def _new(path: Path) -> Path:
    # Runtimes read files by their extension; this one they do not know.
    return path.with_name(f".{path.name}.new")


def _is_placed(path: Path, content: bytes, mode: int) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    is_alike = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == mode
    return is_alike and path.read_bytes() == content


def _write(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(fd, mode)
        os.fsync(fd)
