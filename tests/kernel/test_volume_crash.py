"""A process killed at each step of a verb: the next call, or a look at the start, puts it right.

The steps are the system calls themselves: a profile function counts them and kills the process at
the one whose turn it is, so the code under test knows nothing of it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from ringbolt.linux import loop, mount
from ringbolt.volumes.overlay import OverlayBackend
from ringbolt.volumes.spec import Directory, Loop, Overlay, Tmpfs
from ringbolt.volumes.volume import Volume
from tests.kernel.test_cni_plugin import wait_until
from tests.kernel.volumes_lab import TENANT, VolumeLab, soon, volume, volume_lab

pytestmark = pytest.mark.root

LOOP = volume(Loop("data", 8 << 20))
KINDS = ("tmpfs", "dir", "loop")
_MODULES = {"posix", "fcntl"}
_LOOKS = {"pread", "read", "fstat", "stat", "lstat", "readlink", "fspath", "scandir", "listdir"}
"""Nothing has changed after one of these."""


def lab_of(folder: Path, kind: str) -> VolumeLab:
    """A room with that kind."""
    if kind != "overlay":
        return volume_lab(folder)
    roots = (str(folder / "srv"),)
    return volume_lab(folder, [OverlayBackend(roots, folder / "run", folder / "state")])


def wanted_of(kind: str, lab: VolumeLab) -> Volume:
    if kind == "overlay":
        return volume(Overlay(str(lab.root), "data", 8 << 20))
    if kind == "loop":
        return LOOP
    if kind == "dir":
        return volume(Directory(str(lab.root / "data"), create=True))
    return volume(Tmpfs(size=1 << 20), "0a1b/data")


def serve(folder: str, kind: str, verb: str) -> None:
    """For each number read: do the verb in a child that is killed at that step."""
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            _die_at(int(line), Path(folder), kind, verb)
        _, status = os.waitpid(child, 0)
        sys.stdout.write("killed\n" if os.WIFSIGNALED(status) else f"ended {status}\n")
        sys.stdout.flush()


def dying_at(step: int) -> Callable[[FrameType, str, object], None]:
    """A profile function that counts what changes something, and kills the process at `step`."""
    left = [step]

    def count(frame: FrameType, event: str, argument: object) -> None:
        made = event == "c_return" and getattr(argument, "__module__", "") in _MODULES
        if (made and getattr(argument, "__name__", "") not in _LOOKS) or (
            event == "return" and frame.f_code.co_filename.endswith("linux/libc.py")
        ):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return count


def _die_at(step: int, folder: Path, kind: str, verb: str) -> None:
    lab = lab_of(folder, kind)
    wanted, target = wanted_of(kind, lab), lab.target("data")
    sys.setprofile(dying_at(step))
    match verb:
        case "publish":
            lab.publish(wanted, target, fs_group=4242)
        case "unpublish":
            lab.unpublish(target)
        case "delete":
            lab.room.delete(wanted, soon())
        case "reset":
            lab.room.reset(wanted, soon())
        case "snapshot":
            lab.room.snapshot(wanted, None, "copy", soon(), plain=True)
        case _:
            raise AssertionError(verb)
    sys.setprofile(None)
    os._exit(0)


@contextmanager
def killer(folder: Path, kind: str, verb: str) -> Iterator[Callable[[int], bool]]:
    """Whether the verb was killed at a step, and did not end before it."""
    program = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
    program += "from tests.kernel.test_volume_crash import serve; serve(*sys.argv[1:])"
    words = (sys.executable, "-c", program, str(folder), kind, verb)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as working:
        assert working.stdin
        assert working.stdout

        def kill(step: int) -> bool:
            assert working.stdin
            assert working.stdout
            working.stdin.write(f"{step}\n")
            working.stdin.flush()
            answer = working.stdout.readline().strip()
            assert answer in ("killed", "ended 0"), answer
            return answer == "killed"

        yield kill
        working.stdin.close()


def assert_nothing_is_left(lab: VolumeLab) -> None:
    assert lab.mounts() == []
    assert [path for path in (lab.places.run_dir / "volumes").rglob("*") if path.is_file()] == []
    assert list((lab.places.kubelet_dir / "plugins").glob("ringbolt.dev/*")) == []
    image = lab.places.state_dir / "volumes" / "loop" / "default" / "data.img"
    if image.exists():
        found = image.stat()
        # Whoever looks at all the machine's disks may have it open for a moment.
        wait_until(lambda: not loop.find_by_backing(found.st_dev, found.st_ino))
    target = lab.target("data")
    target.rmdir()  # not guarded, and empty


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_publishing_killed_at_each_step(tmp_path: Path, kind: str) -> None:
    lab = volume_lab(tmp_path)
    wanted = wanted_of(kind, lab)
    lab.publish(wanted, lab.target("data"))
    lab.unpublish(lab.target("data"))
    with killer(tmp_path, kind, "publish") as kill:
        step = 1
        while kill(step):
            again = volume_lab(tmp_path)
            if step % 3 == 0:
                again.room.reconcile()
            if step % 3 != 1:
                again.publish(wanted, again.target("data"))
                (again.target("data") / "file").write_text("x")
            again.unpublish(again.target("data"))
            again.room.reconcile()
            assert_nothing_is_left(again)
            step += 1
    assert step > 20
    lab.unpublish(lab.target("data"))
    assert_nothing_is_left(lab)
    mount.umount(str(lab.places.kubelet_dir))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_unpublishing_killed_at_each_step(tmp_path: Path, kind: str) -> None:
    lab = volume_lab(tmp_path)
    wanted = wanted_of(kind, lab)
    with killer(tmp_path, kind, "unpublish") as kill:
        lab.publish(wanted, lab.target("data"))
        step = 1
        while kill(step):
            again = volume_lab(tmp_path)
            if step % 2:
                again.unpublish(again.target("data"))
            else:
                again.room.reconcile()
                again.unpublish(again.target("data"))
            again.room.reconcile()
            assert_nothing_is_left(again)
            again.publish(wanted, again.target("data"))
            step += 1
    assert step > 10
    assert_nothing_is_left(lab)
    mount.umount(str(lab.places.kubelet_dir))


@pytest.mark.timeout(300)
def test_what_a_start_finds_is_finished_without_any_call(tmp_path: Path) -> None:
    """The kubelet may never ask again: its pod is gone."""
    lab = volume_lab(tmp_path)
    lab.room.create(LOOP, TENANT, soon())
    with killer(tmp_path, "loop", "publish") as kill:
        step = 1
        while kill(step):
            again = volume_lab(tmp_path)
            again.room.reconcile()
            published = [one for one in again.mounts() if one.target == str(again.target("data"))]
            if not published:
                assert_nothing_is_left(again)
            else:
                assert len(published) == 1
                (again.target("data") / "file").write_text("complete")
                again.unpublish(again.target("data"))
            step += 5
    lab.unpublish(lab.target("data"))
    assert_nothing_is_left(lab)
    mount.umount(str(lab.places.kubelet_dir))


def written(lab: VolumeLab, wanted: Volume) -> bool:
    """Whether the file is there; nothing but that file ever is."""
    lab.publish(wanted, lab.target("data"))
    names = {one.name for one in lab.target("data").iterdir()} - {"lost+found"}
    if names:
        assert (lab.target("data") / "file").read_text() == "written"
    lab.unpublish(lab.target("data"))
    assert names <= {"file"}
    return bool(names)


def write(lab: VolumeLab, wanted: Volume) -> None:
    lab.publish(wanted, lab.target("data"))
    (lab.target("data") / "file").write_text("written")
    lab.unpublish(lab.target("data"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "verb"), [("loop", "delete"), ("overlay", "reset")])
def test_deleting_and_resetting_killed_at_each_step(tmp_path: Path, kind: str, verb: str) -> None:
    """All of what was written is there, or nothing of it, and the volume can be used."""
    lab, seen = lab_of(tmp_path, kind), list[bool]()
    wanted = wanted_of(kind, lab)
    if lack := lab.room.abilities()[-1].lack:
        pytest.skip(lack)
    folder = lab.places.state_dir / "volumes" / kind / "default"
    write(lab, wanted)
    with killer(tmp_path, kind, verb) as kill:
        step = 1
        while kill(step):
            again = lab_of(tmp_path, kind)
            assert verb == "delete" or (folder / "data.img").exists()
            seen.append(written(again, wanted))
            if not seen[-1]:
                write(again, wanted)
            again.room.reconcile()
            assert_nothing_is_left(again)
            assert {one.name for one in folder.iterdir()} <= {"data.img", "data.new"}
            step += 1
    assert set(seen) == {True, False}
    assert seen == sorted(seen, reverse=True)
    assert not written(lab, wanted)
    lab.room.delete(wanted, soon())
    assert list(folder.iterdir()) == []
    mount.umount(str(lab.places.kubelet_dir))


@pytest.mark.timeout(300)
def test_copying_killed_at_each_step(tmp_path: Path) -> None:
    lab, seen = volume_lab(tmp_path), list[bool]()
    folder = lab.places.state_dir / "volumes" / "loop" / "default"
    write(lab, LOOP)
    with killer(tmp_path, "loop", "snapshot") as kill:
        step = 1
        while kill(step):
            again = volume_lab(tmp_path)
            copies = again.room.find(LOOP.namespace, "copy")
            for copy in copies:
                assert written(again, copy)
                assert again.room.delete(copy, soon())
            seen.append(bool(copies))
            assert written(again, LOOP)
            again.room.reconcile()
            assert_nothing_is_left(again)
            assert {one.name for one in folder.iterdir()} == {"data.img"}
            step += 1
    assert set(seen) == {True, False}
    mount.umount(str(lab.places.kubelet_dir))
