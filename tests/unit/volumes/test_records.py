"""What is remembered of live mounts: what is broken goes, what somebody is writing stays."""

import os
from pathlib import Path

import pytest

from ringbolt.volumes.records import Published, Records
from ringbolt.volumes.spec import Tmpfs
from ringbolt.volumes.volume import Namespace, Publication, Tenant, Volume

TARGET = Path("/var/lib/kubelet/pods/1/volumes/ringbolt.dev~volume/data")


@pytest.fixture
def kept(tmp_path: Path) -> Published:
    namespace = Namespace("team-a")
    volume = Volume(Tmpfs(), namespace, instance="1/data")
    kept = Published(volume, Publication(TARGET, Tenant(namespace)), 1.0)
    Records(tmp_path).put_published(kept)
    return kept


def test_what_a_call_writes_while_the_agent_starts_is_left_alone(
    tmp_path: Path, kept: Published
) -> None:
    folder = tmp_path / "volumes" / "published"
    writing = folder / f"aaaa.{os.getpid()}"
    writing.touch()
    (folder / "aaaa.4194305").touch()  # more than the kernel's last process number
    Records(tmp_path).sweep()
    assert writing.exists()
    assert len(list(folder.iterdir())) == 2
    assert Records(tmp_path).published(TARGET) == kept


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"volume": 1}', '{"volume": {"spec": {}}}'])
def test_a_record_that_says_nothing_is_as_good_as_none(
    tmp_path: Path, kept: Published, text: str
) -> None:
    (file,) = (tmp_path / "volumes" / "published").iterdir()
    file.write_text(text)
    records = Records(tmp_path)
    assert records.published(kept.publication.target) is None
    assert list(records.all_published()) == []
    records.sweep()
    assert not file.exists()


def test_what_is_no_file_keeps_nobody_from_starting(tmp_path: Path, kept: Published) -> None:
    (tmp_path / "volumes" / "published" / "odd.json").mkdir()
    records = Records(tmp_path)
    records.sweep()
    assert list(records.all_published()) == [kept]
