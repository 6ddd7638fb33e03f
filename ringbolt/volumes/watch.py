"""Hears that something happened to mounted volumes, at once and without asking again and again.

Errors of file systems (fanotify, Linux 5.16), mounts that come and go (fanotify, Linux 6.14; before
that mountinfo, which polls for exceptions when it changes), disks that are taken out (uevents).
What happened, a look at the volumes tells; hearing only says that one is due.
"""

import os
import select
import socket
from contextlib import ExitStack, suppress
from typing import Self

from ringbolt.linux import fanotify
from ringbolt.linux.uevent import open_uevents, read_uevents
from ringbolt.volumes.ground import Ground
from ringbolt.volumes.mounts import Mounts
from ringbolt.volumes.paths import Spot
from ringbolt.volumes.volume import VolumeId

_TELLING = frozenset({"ext4", "xfs", "btrfs", "f2fs"})
"""File systems on disks of this node: looking at their roots waits for no server."""


class VolumeWatch:
    """Of the mount namespace of the thread that opens it. `lacks`: what is not heard. Close it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._marked: dict[VolumeId, int] = {}
        self._errors = -1
        self._mounts = -1
        self._forgets = False
        self._urgent = True
        self._known: tuple[int, ...] = ()
        self._uevents: socket.socket | None = None
        self.lacks: list[str] = []
        with ExitStack() as undo:
            self._poll = select.epoll()
            undo.callback(self._poll.close)
            self._open_errors(undo)
            self._open_mounts(undo)
            self._open_uevents(undo)
            self._closing = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hear no more."""
        self._closing.close()

    def fileno(self) -> int:
        """Polls readable when something happened."""
        return self._poll.fileno()

    def is_news(self) -> bool:
        """Whether what was heard since the last time can concern a volume.

        Other pods' mounts come and go all the time, and a look at many volumes costs something.
        """
        urgent, self._urgent = self._urgent, False
        inside = self._ground.places.kubelet_root
        lines = [line for line in Mounts.look().text.splitlines() if inside in line]
        known, self._known = self._known, (hash(tuple(lines)), *self._ground.records.stamp())
        return urgent or known != self._known

    def mark(self) -> None:
        """Hear the errors of all that is staged now, which is not heard yet. Raises OSError."""
        mounts = Mounts.look()
        if self._errors < 0:
            return
        now: dict[VolumeId, int] = {}
        for volume_id in self._ground.records.all_staged():
            points = mounts.at(str(self._ground.places.stagings / volume_id / "mount"))
            if points and points[-1].fstype in _TELLING:
                now[volume_id] = points[-1].mount_id
                if self._marked.get(volume_id) != points[-1].mount_id:
                    self._mark(volume_id)
        self._marked = now

    def hear(self) -> bool:
        """Take what was told; whether to ask for news. Raises OSError."""
        due = self._forgets
        for fd, _ in self._poll.poll(0):
            if self._uevents and fd == self._uevents.fileno():
                heard = read_uevents(self._uevents)
                lost = heard is None or any(
                    one.action == "remove" and "/block/" in one.path for one in heard
                )
                self._urgent |= lost
                due |= lost
            else:
                due = True
                self._urgent |= fd == self._errors
                if fd in (self._errors, self._mounts):
                    fanotify.read_events(fd)
        return due

    def _mark(self, volume_id: VolumeId) -> None:
        """A file system that tells no errors is looked at now and then."""
        with (
            suppress(OSError),
            Spot.open(self._ground.places, self._ground.places.staging(volume_id)) as spot,
        ):
            fd = spot.fd(os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK)
            try:
                fanotify.watch_errors(self._errors, fd)
            finally:
                os.close(fd)

    def _open_errors(self, undo: ExitStack) -> None:
        try:
            self._errors = fanotify.open_error_watch()
        except OSError as error:
            self.lacks.append(f"errors of file systems are seen late: {error}")
            return
        undo.callback(os.close, self._errors)
        self._poll.register(self._errors, select.EPOLLIN)

    def _open_mounts(self, undo: ExitStack) -> None:
        try:
            watch = fanotify.open_mount_watch()
        except OSError:
            self._open_mountinfo(undo)
            return
        undo.callback(os.close, watch)
        namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fanotify.watch_mounts(watch, namespace)
        except OSError:
            self._open_mountinfo(undo)
            return
        finally:
            os.close(namespace)
        self._mounts = watch
        self._poll.register(watch, select.EPOLLIN)

    def _open_mountinfo(self, undo: ExitStack) -> None:
        """It always polls readable; a change is an exception, told once.

        To whoever polls our descriptor first, so what was told is known from being called at all.
        """
        self._forgets = True
        changes = os.open("/proc/thread-self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        undo.callback(os.close, changes)
        self._poll.register(changes, select.EPOLLPRI | select.EPOLLET)

    def _open_uevents(self, undo: ExitStack) -> None:
        try:
            self._uevents = undo.enter_context(open_uevents())
        except OSError as error:
            self.lacks.append(f"disks that are taken out are seen late: {error}")
            return
        self._poll.register(self._uevents, select.EPOLLIN)
