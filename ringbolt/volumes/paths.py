"""Where everything lies, and one place where a volume appears, held by descriptor.

Every path below the kubelet's directory or our own is looked up by openat2 with no symbolic link on
the way, and acted on by the descriptor of its parent, so nobody can swap a part of it meanwhile.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ringbolt.linux.mount import umount_below
from ringbolt.linux.openat2 import BELOW, RESOLVE_NO_XDEV, mkdir_below, open_below, openat2
from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.volume import Namespace, VolumeId
from ringbolt.volumes.wellformed import check_relative

_OURS = "plugins/ringbolt.dev"
_STAGED = "mount"
_TARGET_MODE = 0o750
"""As the kubelet makes them."""


@dataclass(frozen=True, slots=True)
class Places:
    """The agent's directories and the kubelet's."""

    run_dir: Path
    state_dir: Path
    kubelet_dir: Path

    @property
    def kubelet_root(self) -> str:
        """The kubelet's directory as mountinfo names it, links resolved."""
        return os.path.realpath(self.kubelet_dir)  # on the path of each call

    def relative(self, target: Path) -> str:
        """A target relative to the kubelet's directory. Raises InvalidError: not for targets."""
        prefix = f"{self.kubelet_dir}".rstrip("/") + "/"
        if not str(target).startswith(prefix):  # a kubelet seldom calls it by another name
            prefix = self.kubelet_root.rstrip("/") + "/"
        if str(target).startswith(prefix):
            relative = str(target)[len(prefix) :]
            check_relative(relative)
            if f"{relative}/".startswith(f"{_OURS}/"):
                raise InvalidError(f"{target} is where volumes are staged, and no target")
            return relative
        raise InvalidError(f"{target} is not below the kubelet's directory {self.kubelet_dir}")

    def plain(self, target: Path) -> Path:
        """One name for a target, whichever way its caller came to it."""
        return self.kubelet_dir / self.relative(target)

    def shown(self, target: Path) -> str:
        """A target as mountinfo names it; that of another kubelet's directory as it is."""
        try:
            return f"{self.kubelet_root.rstrip('/')}/{self.relative(target)}"
        except InvalidError:
            return str(target)

    def staging(self, volume_id: VolumeId) -> str:
        """A volume's staging mount, relative to the kubelet's directory."""
        return f"{_OURS}/{volume_id}/{_STAGED}"

    @property
    def stagings(self) -> Path:
        """Where the staging directories of all volumes lie, one each, named by their ids."""
        return Path(self.kubelet_root, _OURS)

    def data(self, kind: str, namespace: Namespace) -> Path:
        """Where our own data of a kind and namespace lies."""
        return self.state_dir / "volumes" / kind / namespace


class Spot:
    """One place below the kubelet's directory. Use it in `with`: it holds the parent open."""

    __slots__ = ("name", "parent", "path")

    def __init__(self, parent: int, name: str, path: str) -> None:
        self.parent = parent
        self.name = name
        self.path = path
        """As mountinfo names it."""

    @classmethod
    def open(cls, places: Places, relative: str) -> Self:
        """Of a path whose parent exists. Raises OSError (ENOENT, ELOOP: a symbolic link)."""
        root = places.kubelet_root
        above, _, name = relative.rpartition("/")
        held = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            parent = open_below(held, above or ".", os.O_PATH | os.O_DIRECTORY)
        finally:
            os.close(held)
        return cls(parent, name, f"{root.rstrip('/')}/{relative}")

    @classmethod
    def make(cls, places: Places, relative: str, *, file: bool = False) -> Self:
        """With what is missing of the path made: directories, at its end perhaps a file."""
        root = places.kubelet_root
        above, _, name = relative.rpartition("/")
        held = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            parent = mkdir_below(held, above, _TARGET_MODE) if above else os.dup(held)
        finally:
            os.close(held)
        spot = cls(parent, name, f"{root.rstrip('/')}/{relative}")
        try:
            spot.ensure(file=file)
        except BaseException:
            os.close(parent)
            raise
        return spot

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.parent)

    def ensure(self, *, file: bool) -> None:
        """Make it where it is missing, a directory or an empty file."""
        with suppress(FileExistsError):
            if file:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
                os.close(os.open(self.name, flags, 0o600, dir_fd=self.parent))
            else:
                os.mkdir(self.name, _TARGET_MODE, dir_fd=self.parent)

    def fd(self, flags: int = os.O_PATH) -> int:
        """Open what is there, the top of what is mounted there. Raises OSError."""
        return open_below(self.parent, self.name, flags)

    def is_mount(self) -> bool:
        """Whether anything is mounted there; asks no file system, so it cannot hang."""
        try:
            os.close(openat2(self.parent, self.name, os.O_PATH, resolve=BELOW | RESOLVE_NO_XDEV))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EXDEV:
                return True
            raise
        return False

    def unmount(self, flags: int = 0) -> bool:
        """Take off what is mounted there, one; False: nothing was. Raises OSError (EBUSY)."""
        try:
            umount_below(self.parent, self.name, flags)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return False
            raise
        return True

    def remove(self) -> bool:
        """Remove the empty directory or file; False: there was none. Raises OSError (ENOTEMPTY)."""
        try:
            os.rmdir(self.name, dir_fd=self.parent)
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            os.unlink(self.name, dir_fd=self.parent)
        return True
