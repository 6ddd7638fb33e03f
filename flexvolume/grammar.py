"""The options that pods' authors write, by kind, and the volume that they mean. Pure.

All are strings, all are hostile. An option that a kind does not know is refused by its name; what a
value must be made of to be a path or an id, the room's values check themselves.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from flexvolume.options import Options
from flexvolume.quantity import parse_bytes
from ringbolt.volumes import spec as specs
from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.spec import DeviceKey, Encryption, FormatPolicy, FsType, Kind, Spec
from ringbolt.volumes.volume import Namespace, Volume

T = TypeVar("T")
Word = TypeVar("Word", Kind, Encryption, FormatPolicy)

_FLAGS = {"true": True, "false": False}
_MADE = frozenset(one.value for one in FsType)
_FS_TYPES: Mapping[Kind, frozenset[str]] = {
    Kind.TMPFS: frozenset({"tmpfs"}),
    Kind.LOOP: _MADE,
    Kind.SUBVOLUME: frozenset({"btrfs"}),
    Kind.DEVICE: _MADE,
    Kind.IMAGE: frozenset({"squashfs", "erofs"}),
    Kind.OVERLAY: frozenset({"overlay"}),
    Kind.NFS: frozenset({"nfs", "nfs4"}),
    Kind.CIFS: frozenset({"cifs"}),
    Kind.ISCSI: _MADE,
}
"""What `fsType` may say of each kind, beside nothing."""


class _Written:
    """The author's options, each read at most once; `close` refuses the rest."""

    def __init__(self, options: Options) -> None:
        self.fs_type = options.fs_type
        self._left = dict(options.written)
        self._known: list[str] = []

    def take(self, name: str, parse: Callable[[str], T]) -> T | None:
        """An option by its name; None where it is not given. Raises InvalidError."""
        self._known.append(name)
        text = self._left.pop(name, None)
        if text is None:
            return None
        try:
            return parse(text)
        except InvalidError as error:
            raise InvalidError(f"option {name}: {error}") from None

    def need(self, name: str) -> str:
        """A text without which the kind is nothing."""
        text = self.take(name, str)
        if not text:
            raise InvalidError(f"option {name} is missing")
        return text

    def flag(self, name: str) -> bool:
        """`true` or `false`; without it, false."""
        return bool(self.take(name, _parse_flag))

    def close(self, kind: Kind) -> None:
        """Raise InvalidError where an option is left."""
        if self._left:
            raise InvalidError(
                f"{kind.value} volumes have no option {min(self._left)[:80]!r}: "
                + _meant(min(self._left), self._known)
            )


def _meant(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - most calls are right

    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"they have {', '.join(sorted(known))}"


def to_volume(options: Options, namespace: Namespace, instance: str) -> Volume:
    """The volume that is meant; `instance` as in Volume. Raises InvalidError."""
    written = _Written(options)
    kind = _kind(written)
    _check_fs_type(kind, options.fs_type)
    spec = _READERS[kind](written)
    volume = Volume(
        spec,
        namespace,
        subdir=written.take("subdir", str) or "",
        options=written.take("mountOptions", _parse_mount_options) or (),
        encryption=written.take("encrypt", _one_of(Encryption)) or Encryption.NONE,
        readonly=options.readonly,
        instance=instance,
    )
    written.close(kind)
    return volume


def _kind(written: _Written) -> Kind:
    if kind := written.take("kind", _one_of(Kind)):
        return kind
    raise InvalidError(f"option kind is missing: one of {', '.join(one.value for one in Kind)}")


def _check_fs_type(kind: Kind, fs_type: str) -> None:
    may = _FS_TYPES.get(kind, frozenset())
    if fs_type and fs_type not in may:
        meant = f"one of {', '.join(sorted(may))}, or nothing" if may else "to be left out"
        raise InvalidError(f"fsType {fs_type[:40]!r} of a {kind.value} volume: it is {meant}")


# --- One reader for each kind --------------------------------------------------------------------


def _tmpfs(written: _Written) -> Spec:
    mode = written.take("mode", _parse_mode)
    return specs.Tmpfs(
        size=written.take("size", parse_bytes),
        inodes=written.take("inodes", parse_bytes),
        mode=specs.Tmpfs().mode if mode is None else mode,
        noswap=written.flag("noswap"),
    )


def _directory(written: _Written) -> Spec:
    return specs.Directory(path=written.need("path"), create=written.flag("create"))


def _loop(written: _Written) -> Spec:
    return specs.Loop(
        name=written.need("name"),
        size=written.take("size", parse_bytes),
        preallocate=written.flag("preallocate"),
        fs_type=_fs_type(written) or FsType.EXT4,
        format=written.take("format", _one_of(FormatPolicy)) or FormatPolicy.IF_BLANK,
    )


def _subvolume(written: _Written) -> Spec:
    return specs.Subvolume(name=written.need("name"), size=written.take("size", parse_bytes))


def _device(written: _Written) -> Spec:
    found = [(key, text) for key in DeviceKey if (text := written.take(key.value, str)) is not None]
    if len(found) != 1:
        names = ", ".join(key.value for key in DeviceKey)
        raise InvalidError(f"a device volume is found by exactly one of {names}")
    (key, value), *_ = found
    policy = written.take("format", _one_of(FormatPolicy)) or FormatPolicy.NEVER
    return specs.Device(key, value, _fs_type(written), policy)


def _image(written: _Written) -> Spec:
    return specs.Image(path=written.need("path"), sha256=written.take("sha256", str))


def _overlay(written: _Written) -> Spec:
    return specs.Overlay(
        lower=written.need("lower"),
        name=written.take("name", str),
        size=written.take("size", parse_bytes),
        sha256=written.take("sha256", str),
    )


def _nfs(written: _Written) -> Spec:
    return specs.Nfs(server=written.need("server"), path=written.need("path"))


def _cifs(written: _Written) -> Spec:
    return specs.Cifs(server=written.need("server"), share=written.need("share"))


def _iscsi(written: _Written) -> Spec:
    return specs.Iscsi(
        portal=written.need("portal"),
        iqn=written.need("iqn"),
        lun=written.take("lun", _parse_lun) or 0,
        fs_type=_fs_type(written),
        format=written.take("format", _one_of(FormatPolicy)) or FormatPolicy.NEVER,
    )


def _fuse(written: _Written) -> Spec:
    return specs.Fuse(helper=written.need("helper"), source=written.need("source"))


_READERS: Mapping[Kind, Callable[[_Written], Spec]] = {
    Kind.TMPFS: _tmpfs,
    Kind.DIRECTORY: _directory,
    Kind.LOOP: _loop,
    Kind.SUBVOLUME: _subvolume,
    Kind.DEVICE: _device,
    Kind.IMAGE: _image,
    Kind.OVERLAY: _overlay,
    Kind.NFS: _nfs,
    Kind.CIFS: _cifs,
    Kind.ISCSI: _iscsi,
    Kind.FUSE: _fuse,
}


# --- Values --------------------------------------------------------------------------------------


def _fs_type(written: _Written) -> FsType | None:
    return FsType(written.fs_type) if written.fs_type else None


def _one_of(words: type[Word]) -> Callable[[str], Word]:
    def parse(text: str) -> Word:
        try:
            return words(text)
        except ValueError:
            known = ", ".join(str(one.value) for one in words)
            raise InvalidError(f"{text[:40]!r} is none of {known}") from None

    return parse


def _parse_flag(text: str) -> bool:
    try:
        return _FLAGS[text]
    except KeyError:
        raise InvalidError(f"{text[:40]!r} is neither true nor false") from None


def _parse_mode(text: str) -> int:
    if not (0 < len(text) <= len("01777") and set(text) <= set("01234567")):
        raise InvalidError(f"{text[:40]!r} is no file mode: write it in octal, such as 0770")
    return int(text, 8)


def _parse_lun(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len("65535")):
        raise InvalidError(f"{text[:40]!r} is no logical unit: a whole number from 0")
    return int(text)


def _parse_mount_options(text: str) -> tuple[str, ...]:
    """Separated by commas, as in /etc/fstab; the error quotes none: there may be a password."""
    found = tuple(text.split(","))
    if not all(found):
        raise InvalidError("an option between two commas is empty")
    return found
