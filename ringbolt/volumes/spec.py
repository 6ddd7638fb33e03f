"""The kinds of volumes: one frozen spec each, well-formed from the start. No effects enter."""

import enum
import re
from dataclasses import dataclass
from typing import ClassVar

from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.wellformed import check_absolute, check_name, check_size, check_text

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Kind(enum.Enum):
    """What a volume is made of."""

    TMPFS = "tmpfs"
    DIRECTORY = "dir"
    LOOP = "loop"
    SUBVOLUME = "subvolume"
    DEVICE = "device"
    IMAGE = "image"
    OVERLAY = "overlay"
    NFS = "nfs"
    CIFS = "cifs"
    ISCSI = "iscsi"
    FUSE = "fuse"


class FsType(enum.Enum):
    """File systems that volumes are made with, by the kernel's names."""

    EXT4 = "ext4"
    XFS = "xfs"
    BTRFS = "btrfs"


class FormatPolicy(enum.Enum):
    """When a file system may be made. Only proof of blankness counts, never lack of evidence."""

    IF_BLANK = "if-blank"
    NEVER = "never"


class Encryption(enum.Enum):
    """How a volume's content is encrypted; the key comes with the secrets."""

    NONE = "none"
    FSCRYPT = "fscrypt"
    LUKS = "luks"


class DeviceKey(enum.Enum):
    """By what a device is found."""

    SERIAL = "serial"
    WWN = "wwn"
    ID = "id"
    PATH = "path"
    PARTUUID = "partuuid"
    SELECTOR = "selector"


# --- One spec per kind; `identity` is what tells two volumes of it apart -------------------------


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """In memory, for one publication; `size` in bytes, None is what the policy or kernel allow."""

    kind: ClassVar = Kind.TMPFS
    size: int | None = None
    inodes: int | None = None
    mode: int = 0o1777
    noswap: bool = False

    def __post_init__(self) -> None:
        check_size(self.size)
        check_size(self.inodes)
        if not 0 <= self.mode <= 0o7777:  # noqa: PLR2004  # all permission bits
            raise InvalidError(f"mode {self.mode:o} is no file mode")


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of the host at absolute `path`, below one of the policy's roots."""

    kind: ClassVar = Kind.DIRECTORY
    path: str
    create: bool = False

    def __post_init__(self) -> None:
        check_absolute(self.path)


@dataclass(frozen=True, slots=True)
class Loop:
    """An image file of our own with a file system in it; `size` None: it exists already."""

    kind: ClassVar = Kind.LOOP
    name: str
    size: int | None = None
    preallocate: bool = False
    fs_type: FsType = FsType.EXT4
    format: FormatPolicy = FormatPolicy.IF_BLANK

    def __post_init__(self) -> None:
        check_name(self.name)
        check_size(self.size)


@dataclass(frozen=True, slots=True)
class Subvolume:
    """A btrfs subvolume of our own; `size` limits it by its qgroup."""

    kind: ClassVar = Kind.SUBVOLUME
    name: str
    size: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_size(self.size)


@dataclass(frozen=True, slots=True)
class Device:
    """A whole block device or partition, found by `key`; `fs_type` None takes what is on it."""

    kind: ClassVar = Kind.DEVICE
    key: DeviceKey
    value: str
    fs_type: FsType | None = None
    format: FormatPolicy = FormatPolicy.NEVER

    def __post_init__(self) -> None:
        check_text(self.value)


@dataclass(frozen=True, slots=True)
class Image:
    """A read-only file system image (squashfs, erofs) at `path`, pinned by its content's sha256."""

    kind: ClassVar = Kind.IMAGE
    path: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        check_absolute(self.path)
        _check_sha256(self.sha256)


@dataclass(frozen=True, slots=True)
class Overlay:
    """Writable above the read-only `lower` (a directory or an image).

    Without `name` what is written lives in memory as long as the publication, with it in an image
    file of our own. `sha256` pins an image below. `lower` None: only the name is known; such a
    one is found and deleted, and mounted never.
    """

    kind: ClassVar = Kind.OVERLAY
    lower: str | None
    name: str | None = None
    size: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        _check_sha256(self.sha256)
        if self.lower is not None:
            check_absolute(self.lower)
        elif self.name is None:
            raise InvalidError("an overlay without a name needs what lies below")
        check_size(self.size)
        if self.name is not None:
            check_name(self.name)


@dataclass(frozen=True, slots=True)
class Nfs:
    """An export of an NFS server."""

    kind: ClassVar = Kind.NFS
    server: str
    path: str

    def __post_init__(self) -> None:
        check_text(self.server)
        check_absolute(self.path)


@dataclass(frozen=True, slots=True)
class Cifs:
    """A share of an SMB server."""

    kind: ClassVar = Kind.CIFS
    server: str
    share: str

    def __post_init__(self) -> None:
        check_text(self.server)
        check_text(self.share)


@dataclass(frozen=True, slots=True)
class Iscsi:
    """A logical unit of an iSCSI target."""

    kind: ClassVar = Kind.ISCSI
    portal: str
    iqn: str
    lun: int = 0
    fs_type: FsType | None = None
    format: FormatPolicy = FormatPolicy.NEVER

    def __post_init__(self) -> None:
        check_text(self.portal)
        check_text(self.iqn)


@dataclass(frozen=True, slots=True)
class Fuse:
    """What a mount helper serves by FUSE."""

    kind: ClassVar = Kind.FUSE
    helper: str
    source: str

    def __post_init__(self) -> None:
        check_name(self.helper)
        check_text(self.source)


Spec = Tmpfs | Directory | Loop | Subvolume | Device | Image | Overlay | Nfs | Cifs | Iscsi | Fuse


def _check_sha256(text: str | None) -> None:
    if text is not None and not _SHA256.fullmatch(text):
        raise InvalidError("sha256 is 64 lower-case hexadecimal digits")


def is_ephemeral(spec: Spec) -> bool:
    """Whether it lives only as long as its publication."""
    return isinstance(spec, Tmpfs) or (isinstance(spec, Overlay) and spec.name is None)


def size_of(spec: Spec) -> int | None:
    """The size asked for, in bytes; None where none is, or where the kind has none."""
    return spec.size if isinstance(spec, Tmpfs | Loop | Subvolume | Overlay) else None


BY_NAMESPACE = frozenset({Kind.NFS, Kind.CIFS, Kind.ISCSI, Kind.FUSE})
"""Kinds whose mounts have the rights of those that they were made for."""

BY_SECRETS = frozenset({Kind.CIFS, Kind.FUSE})
"""Of those, the kinds of which there may be several mounts at once, by different passwords."""

REMOTE = frozenset({Kind.NFS, Kind.CIFS, Kind.FUSE})
"""Kinds whose files are somebody else's, who may stop answering; other options, another mount."""


def identity_of(spec: Spec) -> tuple[str, ...]:
    """What tells a volume from others of its kind that users do not name."""
    match spec:
        case Directory():
            return (spec.path,)
        case Image():
            return (spec.path, spec.sha256 or "")
        case Device():
            return (spec.key.value, spec.value)
        case Nfs(server=server, path=name) | Cifs(server=server, share=name):
            return (server, name)
        case Iscsi():
            return (spec.iqn, str(spec.lun))
        case Fuse():
            return (spec.helper, spec.source)
        case Tmpfs() | Loop() | Subvolume() | Overlay():
            raise AssertionError(f"{spec.kind} is told by its name or its publication")
