"""One call at a time on a volume; another volume never waits."""

import os
import threading
from pathlib import Path

import pytest

from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import DeadlineError, TryAgainError
from ringbolt.volumes.locks import Locks


def test_a_held_volume_tells_who_has_it_and_another_is_free(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    with locks.hold("loop.a.b", "publish /x", Deadline.after(9)):
        held = locks.status("loop.a.b")
        assert held
        assert held.call == "publish /x"
        assert locks.status("other") is None
        with locks.hold("other", "delete", Deadline.after(0)):
            pass
        with pytest.raises(TryAgainError, match="publish /x"):
            locks.hold("loop.a.b", "delete", Deadline.after(0)).__enter__()
    assert locks.status("loop.a.b") is None
    assert list((tmp_path / "volumes" / "locks").iterdir()) == []


def test_another_process_holds_it_too(tmp_path: Path) -> None:
    here, beside = Locks(tmp_path), Locks(tmp_path)
    with (
        here.hold("x", "publish", Deadline.after(9)),
        pytest.raises(TryAgainError, match="another process"),
        beside.hold("x", "publish", Deadline.after(0)),
    ):
        pass
    with beside.hold("x", "publish", Deadline.after(0)):
        pass


def test_who_waits_goes_on_when_it_is_free(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with locks.hold("x", "second", Deadline.after(30)):
            order.append("second")

    thread = threading.Thread(target=second)
    with locks.hold("x", "first", Deadline.after(30)):
        thread.start()
        assert waiting.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_files_of_killed_processes_are_swept(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    left = tmp_path / "volumes" / "locks" / "0123"
    left.write_text("")
    with locks.hold("x", "publish", Deadline.after(9)):
        locks.sweep()
        assert len(os.listdir(left.parent)) == 1  # noqa: PTH208
    assert not left.exists()


def test_a_deadline_says_what_was_being_done() -> None:
    Deadline.after(9).check("waiting")
    with pytest.raises(DeadlineError, match="waiting"):
        Deadline.after(0).check("waiting")
