"""What pods' authors write, by kind, and the volume that they mean; all of it is hostile."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexvolume.grammar import to_volume
from flexvolume.options import Options
from flexvolume.quantity import parse_bytes
from ringbolt.volumes import spec as specs
from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.spec import DeviceKey, Encryption, FormatPolicy, FsType, Kind, Spec
from ringbolt.volumes.volume import Namespace, Volume

DESIGN = {
    Kind.TMPFS: "size inodes mode noswap",
    Kind.DIRECTORY: "path create",
    Kind.LOOP: "name size preallocate format",
    Kind.SUBVOLUME: "name size",
    Kind.DEVICE: "serial wwn id path partuuid format",
    Kind.IMAGE: "path sha256",
    Kind.OVERLAY: "lower name size",
    Kind.NFS: "server path",
    Kind.CIFS: "server share",
    Kind.ISCSI: "portal iqn lun format",
    Kind.FUSE: "helper source",
}


def read(fs_type: str = "", **written: str) -> Volume:
    return to_volume(Options(written, fs_type=fs_type), Namespace("default"), "u1/data")


@pytest.mark.parametrize(
    ("fs_type", "text", "spec"),
    [
        ("", "tmpfs", specs.Tmpfs()),
        (
            "tmpfs",
            "tmpfs size=8Mi inodes=1k mode=0750 noswap=true",
            specs.Tmpfs(8 << 20, 1000, 0o750, noswap=True),
        ),
        ("", "dir path=/srv/a create=true", specs.Directory("/srv/a", create=True)),
        ("", "loop name=data", specs.Loop("data")),
        (
            "xfs",
            "loop name=data size=1Gi preallocate=true format=never",
            specs.Loop("data", 1 << 30, True, FsType.XFS, FormatPolicy.NEVER),  # noqa: FBT003
        ),
        ("btrfs", "subvolume name=data size=1G", specs.Subvolume("data", 10**9)),
        ("", "device serial=S1", specs.Device(DeviceKey.SERIAL, "S1")),
        (
            "ext4",
            "device partuuid=ab-1 format=if-blank",
            specs.Device(DeviceKey.PARTUUID, "ab-1", FsType.EXT4, FormatPolicy.IF_BLANK),
        ),
        ("erofs", f"image path=/srv/i sha256={'0' * 64}", specs.Image("/srv/i", "0" * 64)),
        ("", "overlay lower=/srv/i size=1Mi", specs.Overlay("/srv/i", size=1 << 20)),
        ("nfs4", "nfs server=a path=/b", specs.Nfs("a", "/b")),
        ("", "cifs server=a share=b", specs.Cifs("a", "b")),
        ("", "iscsi portal=a iqn=b lun=3", specs.Iscsi("a", "b", 3)),
        ("", "fuse helper=s3fs source=bucket", specs.Fuse("s3fs", "bucket")),
    ],
)
def test_each_kind_is_read(fs_type: str, text: str, spec: Spec) -> None:
    kind, *options = text.split()
    written = dict(option.split("=", 1) for option in options)
    assert read(fs_type, kind=kind, **written).spec == spec


@pytest.mark.parametrize("kind", Kind)
def test_an_option_that_a_kind_does_not_have_is_named_with_what_was_meant(kind: Kind) -> None:
    needed = {
        Kind.DIRECTORY: {"path": "/a"},
        Kind.LOOP: {"name": "a"},
        Kind.SUBVOLUME: {"name": "a"},
        Kind.DEVICE: {"id": "a"},
        Kind.IMAGE: {"path": "/a"},
        Kind.OVERLAY: {"lower": "/a"},
        Kind.NFS: {"server": "a", "path": "/a"},
        Kind.CIFS: {"server": "a", "share": "a"},
        Kind.ISCSI: {"portal": "a", "iqn": "a"},
        Kind.FUSE: {"helper": "a", "source": "a"},
    }.get(kind, {})
    with pytest.raises(InvalidError, match=f"{kind.value} volumes have no option 'zz': they have"):
        read(kind=kind.value, zz="1", **needed)
    for name in DESIGN[kind].split():
        with pytest.raises(InvalidError, match=re.escape(f"'{name}x': did you mean {name}?")):
            read(kind=kind.value, **{f"{name}x": "1"}, **needed)


def test_what_all_kinds_have() -> None:
    asked = {"subdir": "a/b", "mountOptions": "noexec,data=journal", "encrypt": "luks"}
    volume = read(kind="loop", name="data", **asked)
    assert (volume.subdir, volume.options) == ("a/b", ("noexec", "data=journal"))
    assert volume.encryption is Encryption.LUKS


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "option kind is missing: one of tmpfs, dir"),
        ("kind=lop", "option kind: 'lop' is none of tmpfs, dir, loop"),
        ("kind=loop", "option name is missing"),
        ("kind=loop name=", "option name is missing"),
        ("kind=loop name=../a", "is no name of a volume"),
        ("kind=loop name=a subdir=../b", "no '..'"),
        ("kind=loop name=a subdir=/b", "empty part"),
        ("kind=loop name=a size=1gi", "option size: '1gi' is no size"),
        ("kind=loop name=a size=0", "0 is no size"),
        ("kind=loop name=a size=10E", "is no size"),
        ("kind=loop name=a preallocate=yes", "option preallocate: 'yes' is neither"),
        ("kind=loop name=a format=always", "option format: 'always' is none of if-blank, never"),
        ("kind=loop name=a encrypt=zip", "option encrypt: 'zip' is none of none, fscrypt, luks"),
        ("kind=tmpfs mode=999", "option mode: '999' is no file mode"),
        ("kind=tmpfs mode=17777", "mode 17777 is no file mode"),
        ("kind=device", "exactly one of serial, wwn, id, path, partuuid"),
        ("kind=device id=a wwn=b", "exactly one of serial, wwn, id, path, partuuid"),
        ("kind=device selector=a serial=b", "exactly one of"),
        ("kind=dir path=srv", "is no absolute path"),
        ("kind=dir path=/srv/../etc", "no '..'"),
        ("kind=image path=/a sha256=ab", "sha256 is 64"),
        ("kind=iscsi portal=a iqn=b lun=-1", "option lun: '-1' is no logical unit"),
        ("kind=tmpfs mountOptions=", "an option between two commas is empty"),
        ("kind=tmpfs mountOptions=a,,b", "an option between two commas is empty"),
    ],
)
def test_what_is_wrong_is_said_with_its_option(written: str, words: str) -> None:
    with pytest.raises(InvalidError, match=re.escape(words)):
        read(**dict(one.split("=", 1) for one in written.split()))


@pytest.mark.parametrize(
    ("fs_type", "written"),
    [
        ("ext4", "kind=tmpfs"),
        ("vfat", "kind=loop name=a"),
        ("nfs", "kind=dir path=/a"),
        ("../x", "kind=device id=a"),
    ],
)
def test_an_fs_type_that_a_kind_cannot_have_is_refused(fs_type: str, written: str) -> None:
    with pytest.raises(InvalidError, match=r"fsType '.*' of a .* volume: it is "):
        read(fs_type, **dict(one.split("=", 1) for one in written.split()))


def test_a_mount_option_is_never_quoted() -> None:
    with pytest.raises(InvalidError) as refused:
        read(kind="tmpfs", mountOptions="password=hunter2,")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4096", 4096),
        ("1k", 1000),
        ("1Ki", 1024),
        ("10Gi", 10 << 30),
        ("1.5Gi", 3 << 29),
        ("0.1", 1),
        ("1e3", 1000),
        ("1E", 10**18),
        ("2E3", 2000),
        ("1.25k", 1250),
    ],
)
def test_sizes_are_kubernetes_quantities(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "1K i", "1 Gi", "Gi", "1.", ".5", "1m", "1e", "٣", "1e999"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="is no size"):
        parse_bytes(text)


_WORDS = st.one_of(
    st.sampled_from(
        ["", "a", "/", "/a/../b", "../a", "a\0b", "a\nb", "true", "1Gi", "0777", "if-blank"]
    ),
    st.text(max_size=40),
)
_OPTIONS = st.dictionaries(
    st.sampled_from(
        sorted({*" ".join(DESIGN.values()).split(), "subdir", "mountOptions", "encrypt"})
    ),
    _WORDS,
    max_size=5,
)


@given(st.sampled_from(Kind), _OPTIONS, _WORDS)
def test_whatever_is_written_is_a_wellformed_volume_or_refused(
    kind: Kind, written: dict[str, str], fs_type: str
) -> None:
    try:
        volume = read(fs_type, kind=kind.value, **written)
    except InvalidError:
        return
    assert volume.kind is kind
    for part in (volume.id, *volume.subdir.split("/")):
        assert part not in {".", ".."}
        assert "\0" not in part
        assert "/" not in part
    path = str(getattr(volume.spec, "path", None) or getattr(volume.spec, "lower", "/"))
    if kind is not Kind.DEVICE:
        assert ".." not in Path(path).parts
        assert path.startswith("/")
