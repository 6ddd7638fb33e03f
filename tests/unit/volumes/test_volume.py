"""Volumes as values: what is malformed does not come to be, and no two share an id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.records import _of_volume, _to_volume
from ringbolt.volumes.spec import (
    Cifs,
    Device,
    DeviceKey,
    Directory,
    Encryption,
    Fuse,
    Image,
    Iscsi,
    Loop,
    Nfs,
    Overlay,
    Spec,
    Subvolume,
    Tmpfs,
)
from ringbolt.volumes.volume import Namespace, Secrets, Volume, parse_id, parse_namespace
from ringbolt.volumes.wellformed import check_relative

SOME: tuple[Spec, ...] = (
    Tmpfs(size=4096, noswap=True),
    Directory("/srv/data", create=True),
    Loop("data", 1 << 20),
    Subvolume("data"),
    Device(DeviceKey.SERIAL, "WD-1"),
    Image("/srv/app.squashfs", "ab" * 32),
    Overlay("/srv/lower", "data", 4096),
    Overlay("/srv/lower"),
    Nfs("server", "/export"),
    Cifs("server", "share"),
    Iscsi("10.0.0.1", "iqn.2026-01.example:disk", 3),
    Fuse("sshfs", "host:/dir"),
)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,10}", fullmatch=True)
namespaces = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)


named = st.builds(
    lambda kind, name, namespace: Volume(kind(name), Namespace(namespace)),
    st.sampled_from([Loop, Subvolume]),
    names,
    namespaces,
)


@given(named, named)
def test_two_volumes_never_share_an_id(one: Volume, other: Volume) -> None:
    assert parse_id(one.id) == one.id
    assert (one.id == other.id) == (one == other)


@given(texts)
def test_no_text_becomes_a_path_that_leads_elsewhere(text: str) -> None:
    for make in (Loop, Subvolume):
        try:
            made = Volume(make(text), Namespace("default")).id
        except InvalidError:
            continue
        assert "/" not in made
        assert not made.startswith(".")
        assert made.isprintable()
    try:
        check_relative(text)
    except InvalidError:
        return
    assert not {"", ".", ".."} & set(text.split("/"))
    assert "\0" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "text",
    ["../etc", "/etc", "a/../../b", "a//b", "a/", "./a", "a\nb", "a\0b", "x" * 5000, "a/./b"],
)
def test_a_subdirectory_stays_below(text: str) -> None:
    with pytest.raises(InvalidError):
        Volume(Loop("data"), Namespace("default"), subdir=text)


@pytest.mark.parametrize("spec", SOME, ids=lambda spec: type(spec).__name__)
def test_a_volume_survives_its_record(spec: Spec) -> None:
    wanted = Volume(spec, Namespace("default"), "a/b", ("noexec",), instance="pod/volume")
    assert _to_volume(_of_volume(wanted)) == wanted


def test_ids_of_different_kinds_and_places_differ() -> None:
    ids = {Volume(spec, Namespace("default"), instance="pod/volume").id for spec in SOME}
    assert len(ids) == len(SOME)
    assert all(parse_id(one) == one for one in ids)
    in_pod = Volume(Tmpfs(), Namespace("default"), instance="pod/other").id
    assert in_pod not in ids


def test_what_is_malformed_is_refused() -> None:
    for make in (
        lambda: Directory("relative"),
        lambda: Directory("/a/../b"),
        lambda: Tmpfs(size=0),
        lambda: Tmpfs(mode=0o17777),
        lambda: Image("/x", "AB" * 32),
        lambda: Loop(".hidden"),
        lambda: Loop("a/b"),
        lambda: Device(DeviceKey.SERIAL, ""),
        lambda: Volume(Loop("x"), Namespace("Not.A.Namespace")),
        lambda: Volume(Loop("x"), Namespace("default"), options=("a,b",)),
        lambda: Volume(Tmpfs(), Namespace("default")),
        lambda: parse_id("loop.default/../../etc"),
        lambda: parse_id(".."),
        lambda: parse_namespace("a.b"),
    ):
        with pytest.raises(InvalidError):
            make()


def test_secrets_are_never_shown() -> None:
    secrets = Secrets({"password": b"hunter2", "user": b"root"})
    assert "hunter2" not in f"{secrets!r}{secrets}"
    assert secrets.get("password") == b"hunter2"
    with pytest.raises(InvalidError, match="'key'"):
        secrets.get("key")
    with pytest.raises(InvalidError) as caught:
        Volume(Loop("x"), Namespace("default"), options=("password=hunter2,x",))
    assert "hunter2" not in str(caught.value)


REMOTE: tuple[Spec, ...] = (
    Nfs("server", "/export"),
    Cifs("server", "share"),
    Iscsi("10.0.0.1", "iqn.2026-01.example:disk", 3),
    Fuse("sshfs", "host:/dir"),
)


@pytest.mark.parametrize("spec", REMOTE)
def test_what_has_the_rights_of_a_namespace_is_of_that_namespace_alone(spec: Spec) -> None:
    one, other = (Volume(spec, Namespace(name)).id for name in ("one", "other"))
    assert one != other
    marked = {Volume(spec, Namespace("one"), credential=mark).id for mark in ("", "a", "b")}
    assert len(marked) == 3


def test_an_encrypted_device_is_open_to_the_namespace_with_its_key_alone() -> None:
    device = Device(DeviceKey.SERIAL, "WD-1")
    ids = {Volume(device, Namespace(name), encryption=Encryption.LUKS).id for name in ("a", "b")}
    assert len(ids) == 2
    assert Volume(device, Namespace("a")).id == Volume(device, Namespace("b")).id


def test_options_make_another_mount_of_a_server_but_not_of_a_disk() -> None:
    for spec in REMOTE:
        ids = {Volume(spec, Namespace("a"), options=options).id for options in ((), ("soft",))}
        assert len(ids) == (1 if isinstance(spec, Iscsi) else 2)
