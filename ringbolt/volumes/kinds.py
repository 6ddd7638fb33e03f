"""All kinds of volumes there are, as the one table that `Volumes` is opened with."""

from pathlib import Path

from ringbolt.volumes.backend import Backend
from ringbolt.volumes.cifs import CifsBackend
from ringbolt.volumes.device import Finder
from ringbolt.volumes.directory import DirectoryBackend
from ringbolt.volumes.encrypted import EncryptedDeviceBackend, EncryptedLoopBackend
from ringbolt.volumes.fuse import FuseBackend
from ringbolt.volumes.image import ImageBackend
from ringbolt.volumes.iscsi import IscsiBackend
from ringbolt.volumes.nfs import NfsBackend
from ringbolt.volumes.overlay import OverlayBackend
from ringbolt.volumes.setting import Setting
from ringbolt.volumes.subvolume import SubvolumeBackend
from ringbolt.volumes.tmpfs import TmpfsBackend
from ringbolt.volumes.volumes import Volumes


def all_kinds(setting: Setting, find: Finder | None = None) -> tuple[Backend, ...]:
    """One backend for each kind; `find` finds block devices by their names."""
    places, roots = setting.places, setting.policy.roots
    subvolumes = setting.subvolumes or places.state_dir / "volumes" / "subvolume"
    return (
        TmpfsBackend(),
        DirectoryBackend(roots),
        EncryptedLoopBackend(places.state_dir),
        SubvolumeBackend(Path(subvolumes)),
        EncryptedDeviceBackend(find, places.state_dir),
        ImageBackend(roots, places.run_dir),
        OverlayBackend(roots, places.run_dir, places.state_dir),
        NfsBackend(places),
        CifsBackend(places),
        IscsiBackend(places),
        FuseBackend(places, setting.policy.helpers),
    )


def open_volumes(setting: Setting, find: Finder | None = None) -> Volumes:
    """The room of a node. Raises OSError."""
    return Volumes(setting.places, setting.policy, all_kinds(setting, find))
