"""`ringbolt volumes delete|snapshot|reset`: what a node's operator does with one volume's data.

They go through the same room as the agent, with its locks, and may run beside it. An operator needs
no rule of `volumes.allow`; data that is not Ringbolt's own is out of reach for everybody.
"""

import difflib
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from daemon.command_options import KUBELET_DIR, RUN_DIR, STATE_DIR
from daemon.volumes_command import read, size
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import InvalidError, NotFoundError, VolumeError
from ringbolt.volumes.inspection import name_of
from ringbolt.volumes.kinds import open_volumes
from ringbolt.volumes.paths import Places
from ringbolt.volumes.spec import Kind
from ringbolt.volumes.volume import Volume, parse_namespace
from ringbolt.volumes.volumes import Volumes
from ringbolt.volumes.wellformed import check_name

_PATIENCE_S = 60.0
"""For another call on the same volume to end."""
_KIB = 1 << 10
_COPY_S = 3600.0
"""For a copy byte for byte."""
_LASTING = (Kind.LOOP, Kind.SUBVOLUME, Kind.OVERLAY)


@dataclass(frozen=True, slots=True)
class _Found:
    """The volume that is meant, by the name that it was called."""

    room: Volumes
    volume: Volume
    name: str


def _command(function: Callable[..., None]) -> click.Command:
    """With what all of them take."""
    kind = click.option(
        "--kind",
        type=click.Choice([one.value for one in _LASTING]),
        help="Of several volumes with this name, the one of this kind.",
    )
    which = click.argument("which", metavar="NAMESPACE/NAME")
    decorated: Any = which(kind(RUN_DIR(STATE_DIR(KUBELET_DIR(function)))))
    return click.command()(decorated)


_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@_command
@_YES
def delete(which: str, kind: str | None, *, yes: bool, **places: Path) -> None:
    """Delete a volume's data for ever.

    Refused while a pod has the volume mounted. Nothing else ever deletes a volume's data.
    """
    with _telling("delete"):
        found = _find(which, kind, Places(**places))
        _confirm(found, "its data is deleted for ever", yes=yes)
        done = found.room.delete(found.volume, Deadline.after(_PATIENCE_S))
        if done is None:
            raise NotFoundError(f"{which}: somebody else has deleted it meanwhile")
    click.echo(f"deleted {found.name} ({done.volume_id}){_freed(done.freed)}")


@_command
@_YES
def reset(which: str, kind: str | None, *, yes: bool, **places: Path) -> None:
    """Throw away what was written to an overlay volume.

    What lies below stays; the next pod sees that alone. Refused while a pod has the volume mounted.
    """
    with _telling("reset"):
        found = _find(which, kind, Places(**places))
        _confirm(found, "what was written to it is thrown away", yes=yes)
        done = found.room.reset(found.volume, Deadline.after(_PATIENCE_S))
    click.echo(f"reset {found.name} ({done.volume_id}){_freed(done.freed)}")


@_command
@click.argument("new_name", metavar="NEWNAME")
@click.option(
    "--plain", is_flag=True, help="Copy byte for byte where blocks cannot be shared; unmounted."
)
def snapshot(which: str, new_name: str, kind: str | None, *, plain: bool, **places: Path) -> None:
    """Copy a volume as it is now, mounted or not.

    The copy is a volume NEWNAME of the same namespace, for pods to mount. It takes no time and no
    room until one of the two is written to; where the file system cannot do that, see --plain.
    """
    with _telling("snapshot"):
        found = _find(which, kind, Places(**places))
        deadline = Deadline.after(_COPY_S if plain else _PATIENCE_S)
        made = found.room.snapshot(found.volume, None, new_name, deadline, plain=plain)
    of_size = f", {size(made.size)}" if made.size is not None else ""
    click.echo(
        f"copied {found.name} to {found.volume.namespace}/{new_name} ({made.volume_id}{of_size})"
    )


ACTIONS = {"delete": delete, "reset": reset, "snapshot": snapshot}


@contextmanager
def _telling(action: str) -> Generator[None]:
    """End the command with what went wrong, in one sentence."""
    try:
        yield
    except (VolumeError, OSError) as error:
        as_root = ": run it as root" if isinstance(error, PermissionError) else ""
        click.echo(f"ringbolt volumes {action}: {error}{as_root}", err=True)
        sys.exit(1)


def _find(which: str, kind: str | None, places: Places) -> _Found:
    """Raises NotFoundError, InvalidError: it is not one volume's name; OSError."""
    first, slash, name = which.partition("/")
    if not slash:
        raise InvalidError(f"{which!r} lacks its namespace: name it as NAMESPACE/NAME")
    namespace = parse_namespace(first)
    setting, lacks = read(places)
    room = open_volumes(setting)
    named = room.find(namespace, name)
    kinds = " and ".join(one.kind.value for one in named)
    match [one for one in named if kind in {None, one.kind.value}]:
        case []:
            if not kinds:
                raise _unknown(room, which, lacks)
            raise NotFoundError(f"{which} is a {kinds} volume, see --kind")
        case [volume]:
            return _Found(room, volume, which)
        case _:
            raise InvalidError(f"there are volumes {which} of {kinds}: say which one with --kind")


def _unknown(room: Volumes, which: str, lacks: list[str]) -> VolumeError:
    """With what there is instead."""
    listed = [one.volume for one in room.list() if one.volume]
    names = {f"{one.namespace}/{name_of(one)}": one.kind for one in listed}
    if other := names.get(which):
        return NotFoundError(f"{which} is a {other.value} volume: no data of it is Ringbolt's")
    try:
        check_name(which.partition("/")[2])
    except InvalidError as error:
        return error
    known = [name for name, kind in names.items() if kind in _LASTING]
    close = difflib.get_close_matches(which, known, n=3)
    instead = f"; did you mean {' or '.join(close)}?" if close else ""
    text = f"{which}: no such volume, `ringbolt volumes` lists them{instead}"
    unseen = ["only root sees all of them"] if os.geteuid() else []
    return NotFoundError("; ".join([text, *unseen, *lacks]))


def _confirm(found: _Found, what: str, *, yes: bool) -> None:
    """Have its name typed, unless it was said before. Raises InvalidError."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():  # None: it was closed
        raise click.UsageError(f"{found.name}: {what}; nobody is there to ask: pass --yes")
    click.echo(f"{found.name} ({found.volume.id}): {what}.")
    if click.prompt("Type its name to go on", default="", show_default=False) != found.name:
        raise InvalidError("that is not its name: nothing was done")


def _freed(number: int | None) -> str:
    if number is None:
        return "; how much comes free, its file system does not tell"
    return f": {size(number)}{'' if number >= _KIB else ' bytes'} came free"
