"""What a start finds: mounts, records and guards that no longer fit together."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringbolt.linux import inode_flags, mount, namespaces
from ringbolt.volumes.errors import NotAvailableError, NotFoundError, RefusedError
from ringbolt.volumes.outcome import State
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.records import Published
from ringbolt.volumes.spec import Directory, Kind, Loop, Tmpfs
from ringbolt.volumes.volume import Publication
from ringbolt.volumes.volumes import Volumes
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root
MIB = 1 << 20
LOOP = volume(Loop("data", 8 * MIB))
MEMORY = volume(Tmpfs(size=MIB), "0a1b/scratch")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[VolumeLab]:
    made = volume_lab(tmp_path)
    yield made
    mount.umount(str(made.places.kubelet_dir))


def forget(lab: VolumeLab) -> None:
    for path in (lab.places.run_dir / "volumes").rglob("*.json"):
        path.unlink()


def test_after_a_reboot_the_kubelet_can_remove_its_directories(lab: VolumeLab) -> None:
    """k/k#60987: who finds them left removes them by hand, and live data too."""
    data, scratch = lab.target("data"), lab.target("scratch")
    lab.publish(LOOP, data)
    lab.publish(MEMORY, scratch)
    for point in reversed(lab.mounts()):
        mount.umount(point.target)
    forget(lab)
    with pytest.raises(PermissionError):
        data.rmdir()
    found = volume_lab(lab.root.parent).room.reconcile()
    assert set(found.guards) >= {data, scratch}
    data.rmdir()
    scratch.rmdir()
    assert list((lab.places.kubelet_dir / "plugins" / "ringbolt.dev").iterdir()) == []


def test_what_is_mounted_stays_and_a_record_without_a_mount_goes(lab: VolumeLab) -> None:
    data, scratch = lab.target("data"), lab.target("scratch")
    lab.publish(LOOP, data)
    lab.publish(MEMORY, scratch)
    mount.umount(str(scratch))
    found = volume_lab(lab.root.parent).room.reconcile()
    assert found.dropped == (scratch,)
    assert found.guards == (scratch,)
    assert found.unstaged == ()
    (data / "file").write_text("still there")
    assert lab.room.reconcile().guards == ()
    lab.unpublish(data)


def test_a_staged_volume_without_users_is_unstaged(lab: VolumeLab) -> None:
    target = lab.target("data")
    lab.publish(LOOP, target)
    mount.umount(str(target))
    found = lab.room.reconcile()
    assert found.unstaged == (LOOP.id,)
    assert lab.mounts() == []


def test_a_mount_that_nothing_is_remembered_of_is_told_of_and_stays(lab: VolumeLab) -> None:
    """k/k#105536: what is orphaned is told of, never removed."""
    target = lab.target("data")
    lab.publish(LOOP, target)
    forget(lab)
    assert lab.room.reconcile().orphans == (target,)
    assert len(lab.mounts()) == 2
    lab.publish(LOOP, target)  # remembered again
    assert lab.room.reconcile().orphans == ()
    assert lab.unpublish(target).unstaged


def test_another_volumes_trouble_is_told_of(lab: VolumeLab) -> None:
    record = lab.places.run_dir / "volumes" / "published" / "broken.json"
    record.write_text("{")
    lab.publish(MEMORY, lab.target("scratch"))
    lab.room.reconcile()
    assert not record.exists()
    assert lab.unpublish(lab.target("scratch")).unmounted == 1


def test_a_record_of_another_kubelets_directory_hides_no_volume(
    lab: VolumeLab, tmp_path: Path
) -> None:
    place = Publication(tmp_path / "before" / "pods" / "0" / "x", TENANT)
    lab.room._ground.records.put_published(Published(MEMORY, place, 1.0))
    target = lab.target("data")
    lab.publish(LOOP, target)
    assert {one.volume_id for one in lab.room.list()} == {LOOP.id, MEMORY.id}
    (told,) = lab.room.examine().ailments
    assert told.target == place.target
    lab.unpublish(target)


def test_volumes_are_listed_with_their_publications(lab: VolumeLab) -> None:
    lab.publish(LOOP, lab.target("data"))
    lab.publish(LOOP, lab.target("data", "beef"), readonly=True)
    lab.publish(MEMORY, lab.target("scratch"))
    loop, memory = lab.room.list()
    assert (loop.volume_id, loop.kind, loop.staged) == (LOOP.id, Kind.LOOP, State.MOUNTED)
    assert [(one.readonly, one.state) for one in loop.publications] == [
        (one.target == lab.target("data", "beef"), State.MOUNTED) for one in loop.publications
    ]
    assert memory.publications[0].tenant == TENANT
    for target in (lab.target("data"), lab.target("data", "beef"), lab.target("scratch")):
        lab.unpublish(target)
    (left,) = lab.room.list()
    assert (left.volume_id, left.staged, left.publications) == (LOOP.id, None, ())


def test_stats_are_of_what_is_mounted_there(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    with pytest.raises(NotFoundError):
        lab.room.stats(target)
    lab.publish(MEMORY, target)
    (target / "file").write_bytes(bytes(MIB // 4))
    found = lab.room.stats(target)
    assert (found.bytes_total, found.bytes_used) == (MIB, MIB // 4)
    assert found.inodes_used >= 2
    lab.unpublish(target)


def test_memory_grows_while_it_is_used_and_as_far_as_the_policy_goes(lab: VolumeLab) -> None:
    target = lab.target("scratch")
    rules = (Rule(frozenset(Kind), max_size=4 * MIB),)
    lab.room.adopt(Policy((), rules), tuple(lab.room._ground.backends.values()))
    lab.publish(MEMORY, target)
    (target / "file").write_text("kept")
    assert lab.room.expand(MEMORY, TENANT, 2 * MIB, soon()) == 2 * MIB
    assert lab.room.stats(target).bytes_total == 2 * MIB
    assert lab.room.expand(MEMORY, TENANT, MIB, soon()) == 2 * MIB
    with pytest.raises(RefusedError):
        lab.room.expand(MEMORY, TENANT, 8 * MIB, soon())
    assert (target / "file").read_text() == "kept"
    lab.unpublish(target)


def test_what_a_kind_cannot_is_said(lab: VolumeLab) -> None:
    directory = volume(Directory(str(lab.root / "data"), create=True))
    with pytest.raises(NotAvailableError, match="dir"):
        lab.room.expand(directory, TENANT, MIB, soon())
    with pytest.raises(NotAvailableError, match="copied"):
        lab.room.snapshot(directory, TENANT, "copy", soon())
    bare = Volumes(lab.places, Policy((), (Rule(frozenset(Kind)),)), ())
    with pytest.raises(NotAvailableError, match="this node has no"):
        bare.validate(LOOP, TENANT)


def test_what_somebody_put_into_a_staging_directory_stays(lab: VolumeLab) -> None:
    """And a volume is staged over it and unstaged as if it were not there."""
    folder = lab.places.kubelet_dir / "plugins" / "ringbolt.dev" / LOOP.id / "mount"
    folder.mkdir(parents=True)
    (folder / "mine").write_text("x")
    lab.publish(LOOP, lab.target("data"))
    assert lab.unpublish(lab.target("data")).unstaged
    assert (folder / "mine").read_text() == "x"
    assert lab.room.reconcile().remarks == ()


def test_mounts_reach_the_host_and_outlive_the_agent(lab: VolumeLab) -> None:
    """The agent's own mount namespace shares the kubelet's directory, as its container does."""
    target = lab.target("data")
    lab.room.create(LOOP, TENANT, soon())
    _as_agent(lab, "publish")
    assert sorted(one.fstype for one in lab.mounts()) == ["ext4", "ext4"]
    (target / "file").write_text("seen by the host")
    _as_agent(lab, "unpublish")
    assert lab.mounts() == []
    target.rmdir()


def _as_agent(lab: VolumeLab, verb: str) -> None:
    program = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
    program += "from tests.kernel.test_volume_start import agent; agent(*sys.argv[1:])"
    words = (sys.executable, "-c", program, str(lab.root.parent), verb)
    subprocess.run(words, check=True)


def agent(folder: str, verb: str) -> None:
    """One call in a mount namespace of its own, which ends with the process."""
    namespaces.unshare(namespaces.CLONE_NEWNS)
    lab = volume_lab(Path(folder))
    if verb == "publish":
        lab.publish(LOOP, lab.target("data"))
    else:
        lab.unpublish(lab.target("data"))


def test_guards_are_taken_off_where_csi_wants_volumes_too_and_nowhere_else(lab: VolumeLab) -> None:
    volumes = lab.places.kubelet_dir / "pods" / "0a1b" / "volumes"
    ours = volumes / "kubernetes.io~csi" / "pv" / "mount"
    theirs = volumes / "kubernetes.io~empty-dir" / "cache"
    for folder in (ours, theirs, theirs / "mount"):
        folder.mkdir(parents=True)
        _set_immutable(folder, on=folder != theirs)
    found = lab.room.reconcile()
    assert found.guards == (ours,)
    with pytest.raises(PermissionError):
        (theirs / "mount").rmdir()
    _set_immutable(theirs / "mount", on=False)


def _set_immutable(folder: Path, *, on: bool) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        inode_flags.set_immutable(fd, on=on)
    finally:
        os.close(fd)
