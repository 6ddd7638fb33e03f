"""Volumes that a program serves by FUSE: one of the operator's, started here, outliving the agent.

The server lives in a session, a mount namespace and, where the node lets us, a cgroup of its own;
its output is nobody's. It ends when its mount does. What it is given as secrets lies in files that
only it sees.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack

from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_program import Program
from ringbolt.linux.statx import statx
from ringbolt.volumes.ability import NODE, Ability
from ringbolt.volumes.aside import Aside
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import NotAvailableError, RefusedError
from ringbolt.volumes.helper import Helper
from ringbolt.volumes.mounts import Mounts, Root
from ringbolt.volumes.nfs import check_plain
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.paths import Places
from ringbolt.volumes.servers import Servers, cgroups_for
from ringbolt.volumes.spec import Fuse, Kind
from ringbolt.volumes.volume import Volume


class FuseBackend:
    """The kind `fuse`; `helpers` as the configuration names them."""

    kind = Kind.FUSE
    staged = True
    options = frozenset[str]()

    def __init__(self, places: Places, helpers: Iterable[Helper], node: Ability = NODE) -> None:
        self._aside = Aside(places)
        self._servers = Servers(places.run_dir)
        self._helpers: Mapping[str, Helper] = {one.name: one for one in helpers}
        self._node = node

    def lacks(self) -> str:
        """The kernel's part; a helper's own program is asked for with its volume."""
        if not self._helpers:
            return "volumes.helpers names none"
        return self._node.lacks_filesystem("fuse") or self._node.lacks_device("fuse", "fuse")

    def lacking(self) -> tuple[str, ...]:
        """Of each helper that cannot run here, what it lacks."""
        lacks = {name: self._lacks_helper(one) for name, one in self._helpers.items()}
        return tuple(f"helper {name}: {lack}" for name, lack in lacks.items() if lack)

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError, RefusedError, NotAvailableError."""
        check_plain(volume)
        helper = self._helper(volume)
        helper.check(_spec(volume).source, volume.options)
        if lack := self._lacks_helper(helper):
            raise NotAvailableError(f"this node cannot serve {helper.name}: {lack}")

    def create(self, ask: Ask) -> Created:
        """What it serves is there, or mounting says so."""
        return Created(ask.volume.id, None, fresh=False)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Start the server; one whose mount is still seen by somebody ends when that is gone."""
        volume, helper = ask.volume, self._helper(ask.volume)
        before = self._servers.find(volume.id)
        if before and not Mounts.look().of(before.device):
            self._servers.end(volume.id)
        program = Program(
            self._argv(helper, ask),
            {key: ask.secrets.get(key) for key in helper.secrets - {helper.stdin}},
            ask.secrets.get(helper.stdin) if helper.stdin else b"",
            serves=True,
            foreground=helper.foreground,
            cgroups=cgroups_for(volume.id),
        )
        made = self._aside.mount(program, ask)
        try:
            device = statx(made.tree).device
            self._servers.remember(volume.id, made.servers, device, made.cgroup)
        except BaseException:
            os.close(made.tree)
            raise
        undo.callback(self._servers.end, volume.id)
        return made.tree

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By the number of the mount that its server was started for."""
        del root
        if not point.fstype.startswith("fuse"):
            return False
        server = self._servers.find(volume.id)
        return server is None or server.device == point.device

    def release(self, volume: Volume) -> None:
        """See that its server ends."""
        self._servers.end(volume.id)

    def delete(self, volume: Volume) -> bool:
        """Never: it lies where the server has it."""
        raise RefusedError(f"helper {_spec(volume).helper} serves the data: delete it there")

    def _argv(self, helper: Helper, ask: Ask) -> tuple[str, ...]:
        program, *rest = helper.filled(_spec(ask.volume).source, ask.options)
        return (self._node.program(program) or program, *rest)

    def _helper(self, volume: Volume) -> Helper:
        name = _spec(volume).helper
        if name not in self._helpers:
            known = ", ".join(sorted(self._helpers)) or "none"
            raise RefusedError(f"{name} is no helper of this node: volumes.helpers has {known}")
        return self._helpers[name]

    def _lacks_helper(self, helper: Helper) -> str:
        return self._node.lacks_program(helper.argv[0])


def _spec(volume: Volume) -> Fuse:
    if not isinstance(volume.spec, Fuse):
        raise RefusedError(f"{volume.kind.value} is not fuse")
    return volume.spec
