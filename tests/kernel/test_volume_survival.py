"""A kubelet's call that outlives its agent, wherever that is killed: the next one ends it.

The launcher waits for another agent, so the kubelet is told of no failure at all.
"""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType

import pytest

from daemon.__main__ import main
from tests.kernel.driver_lab import Driver, agent, install, prepared
from tests.kernel.test_cni_plugin import wait_until
from tests.kernel.test_volume_crash import dying_at
from tests.kernel.test_volume_driver import launcher
from tests.kernel.test_volume_storm import files_of, images

__all__ = ["launcher"]
pytestmark = pytest.mark.root

STRIDE = 41
"""Of the steps; each takes the start of two agents. The room's own tests take all."""
CALLS = {
    "mount": {"kind": "loop", "name": "data", "size": "8Mi"},
    "unmount": {"kind": "loop", "name": "data"},
}


def serve(verb: str, step: str, *arguments: str) -> None:
    """An agent that is killed at a step of the first call of `verb`."""
    count = dying_at(int(step))
    counting = threading.local()

    def look(frame: FrameType, event: str, argument: object) -> None:
        entered = event == "call" and frame.f_code.co_filename.endswith("flexvolume/door.py")
        if entered and frame.f_code.co_name == "handle":
            counting.on = frame.f_locals["call"].arguments[0] == verb
        if getattr(counting, "on", False):
            count(frame, event, argument)

    threading.setprofile(look)
    sys.argv = ["ringbolt", *arguments]
    main()


@pytest.fixture
def driver(tmp_path: Path, launcher: Path) -> Iterator[Driver]:
    with prepared(tmp_path):
        yield Driver(install(tmp_path, launcher), tmp_path)


def call(driver: Driver, verb: str) -> str:
    if verb == "mount":
        return driver.mount("data", CALLS["mount"])
    return driver.unmount("data")


def killed_at(driver: Driver, verb: str, step: int) -> bool:
    """Whether the agent was killed in the call; a second one ended it."""
    program = f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n"
    program += "from tests.kernel.test_volume_survival import serve; serve(*sys.argv[1:])"
    with ThreadPoolExecutor(1) as kubelet:
        with agent(driver.folder, ("-c", program, verb, str(step))) as first:
            if verb == "unmount":
                assert call(driver, "mount") == ""
                (driver.target("data") / "file").write_text("kept")
            called: Future[str] = kubelet.submit(call, driver, verb)
            wait_until(lambda: called.done() or first.poll() is not None)
            killed = not called.done()
        with agent(driver.folder):
            assert called.result() == ""
            check(driver, verb)
    return killed


def check(driver: Driver, verb: str) -> None:
    """One mount and what was written there; or nothing at all."""
    if verb == "mount":
        assert len(driver.mounts()) == 2
        assert list(images(driver.folder).values()) == [1]
        (driver.target("data") / "file").write_text("kept")
        assert call(driver, "unmount") == ""
    wait_until(lambda: not files_of(driver.folder, "locks"))
    assert driver.mounts() == []
    wait_until(lambda: list(images(driver.folder).values()) == [0])
    assert [*files_of(driver.folder, "published"), *files_of(driver.folder, "staged")] == []
    assert list((driver.kubelet / "plugins").glob("ringbolt.dev/*")) == []
    assert call(driver, "mount") == ""
    assert (driver.target("data") / "file").read_text() == "kept"
    assert call(driver, "unmount") == ""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("verb", sorted(CALLS))
def test_a_call_outlives_its_agent(driver: Driver, verb: str) -> None:
    step = 1
    while killed_at(driver, verb, step):
        step += STRIDE
    assert step > STRIDE
