"""Stable links: `<links_dir>/<DeviceId>/<member>` -> the member's node under today's number.

A container's cached answer names these links for as long as the container lives, and the runtime
resolves them at every start. So a link points at its own device or does not exist: when a device
goes, its links go at once, and a restart fails with "no such file or directory" instead of getting
whichever device took over the number. The folder of a device that is held stays, empty, and its
links return with the device.

Only links and folders in `links_dir` are touched: nothing is followed, and what is not ours stays.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from pathlib import Path

from ringbolt.devices.device import Device, DeviceId

_TEMPORARY = ".new-"


class LinksError(OSError):
    """Some devices' links are not as they should be: `errors` by device id."""

    def __init__(self, errors: Mapping[str, OSError]) -> None:
        self.errors = errors
        first = min(errors)
        super().__init__(f"{len(errors)} devices without their links, {first}: {errors[first]}")


Targets = Mapping[str, Mapping[str, str]]
"""Device id -> member name -> dev node."""


def targets(devices: Iterable[Device], keep: Collection[DeviceId] = frozenset()) -> Targets:
    """What `sync` makes of the same arguments."""
    wanted: dict[str, Mapping[str, str]] = {name: {} for name in keep}
    for device in devices:
        wanted[device.id] = {member.name: member.dev_node for member in device.members}
    return wanted


def update(links_dir: Path, known: Targets, wanted: Targets) -> frozenset[Path]:
    """Turn the links of `known` into those of `wanted`, touching only what differs.

    `known` is what an earlier call made. Raises LinksError, as `sync` does.
    """
    changed: set[Path] = set()
    errors: dict[str, OSError] = {}
    for name in known.keys() | wanted.keys():
        if known.get(name) != wanted.get(name):
            try:
                changed.update(_change_folder(links_dir / name, wanted.get(name)))
            except OSError as error:
                errors[name] = error
    if errors:
        raise LinksError(errors)
    return frozenset(changed)


def _change_folder(folder: Path, wanted: Mapping[str, str] | None) -> Iterator[Path]:
    if wanted is None:
        yield from _sync_folder(folder, {})
        _remove_folder(folder)
        return
    _ensure_folder(folder)
    yield from _sync_folder(folder, wanted)


def sync(
    links_dir: Path, devices: Iterable[Device], keep: Collection[DeviceId] = frozenset()
) -> frozenset[Path]:
    """Make the links of `devices`, and no others, point at their nodes; the paths that changed.

    `keep` names the devices that are held: their folders stay without links while they are gone.
    A link is replaced in one step (rename), so that it is there at any moment. Blocks on the file
    system of `links_dir` only. Raises LinksError, after it has made what it could: another call
    mends the rest.
    """
    links_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    known = found(links_dir, _folders(links_dir))
    return update(links_dir, known, targets(devices, keep))


def found(links_dir: Path, names: Iterable[str]) -> Targets:
    """What the folders of that name hold now; those that are not there are left out."""
    present = (name for name in names if (links_dir / name).is_dir())
    return {name: _links(links_dir / name) for name in present}


@contextlib.contextmanager
def locked(links_dir: Path) -> Generator[None]:
    """Keep out other agents, as there are during a rolling update. Blocks; raises OSError."""
    links_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    fd = os.open(links_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def find_binds(devices: Iterable[Device]) -> frozenset[str]:
    """The members' paths that a runtime takes as mounts only: sockets, FIFOs and ordinary files."""
    plain = {m.dev_node for device in devices for m in device.members if m.sys_path is None}
    return frozenset(path for path in plain if _is_bind(path))


def _is_bind(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a thousand Paths cost more than the calls
    except OSError:
        return False
    return not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode))


def _folders(links_dir: Path) -> set[str]:
    with os.scandir(links_dir) as entries:
        return {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}


def _ensure_folder(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)


def _sync_folder(folder: Path, wanted: Mapping[str, str]) -> Iterator[Path]:
    present = _links(folder)
    for name in present.keys() - wanted.keys():
        (folder / name).unlink(missing_ok=True)
        yield folder / name
    for name, target in wanted.items():
        if present.get(name) != target:
            _replace(folder / name, target)
            yield folder / name


def _links(folder: Path) -> dict[str, str]:
    """The links in the folder with their targets; nothing where the folder itself has gone."""
    found: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                found[entry.name] = str(Path(entry.path).readlink())
    return found


def _replace(link: Path, target: str) -> None:
    temporary = link.with_name(f"{_TEMPORARY}{link.name}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    try:
        temporary.rename(link)
    except IsADirectoryError:
        # A runtime that found no link for a mount makes a folder in its place (containerd does).
        link.rmdir()
        temporary.rename(link)


def _remove_folder(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
            raise
