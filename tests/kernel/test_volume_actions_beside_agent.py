"""An operator's commands on volumes while an agent serves a kubelet on the same ones."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from daemon.volumes_command import volumes as command
from ringbolt.volumes.errors import BusyError
from ringbolt.volumes.kinds import open_volumes
from ringbolt.volumes.setting import read_setting
from ringbolt.volumes.spec import Loop
from tests.kernel.driver_lab import Driver, agent, install, prepared
from tests.kernel.test_volume_driver import launcher
from tests.kernel.volumes_lab import soon, volume

__all__ = ["launcher"]
pytestmark = pytest.mark.root
DATA = volume(Loop("data"))
TURNS = 20


@pytest.fixture
def driver(tmp_path: Path, launcher: Path) -> Iterator[Driver]:
    with prepared(tmp_path):
        argv = install(tmp_path, launcher)
        with agent(tmp_path):
            yield Driver(argv, tmp_path)


def told(driver: Driver, *words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(command, ["--run-dir", str(driver.run_dir), *words, "--yes"])
    return answer.exit_code, answer.output


def test_what_a_pod_has_stays_and_what_none_has_goes(driver: Driver) -> None:
    options = {"kind": "loop", "size": "16Mi"}
    assert driver.mount("data", options, name="data") == ""
    (driver.target("data") / "file").write_text("kept")
    code, text = told(driver, "delete", "default/data")
    assert code == 1
    assert "is mounted for default/web-0: delete its pods" in text
    assert driver.unmount("data") == ""
    snapshot = ["snapshot", "default/data", "copy", "--plain", "--run-dir", str(driver.run_dir)]
    assert CliRunner().invoke(command, snapshot).exit_code == 0
    assert driver.mount("copy", kind="loop", name="copy") == ""
    assert told(driver, "delete", "default/data")[0] == 0
    assert (driver.target("copy") / "file").read_text() == "kept"
    assert driver.unmount("copy") == ""
    assert driver.mount("data", options, name="data") == ""
    assert not (driver.target("data") / "file").exists()
    assert driver.unmount("data") == ""


def test_pods_come_and_go_while_their_volume_is_deleted(driver: Driver) -> None:
    """A pod has the whole of a volume as long as it is mounted, or gets no mount."""
    image = driver.folder / "state" / "volumes" / "loop" / "default" / "data.img"
    room = open_volumes(read_setting(driver.run_dir))
    ended, deleted, refused = threading.Event(), 0, 0
    wrong: list[str] = []

    def live() -> None:
        for turn in range(TURNS):
            if text := driver.mount("data", kind="loop", name="data", size="8Mi"):
                if "there is no loop volume" not in text:  # deleted as soon as it was made
                    wrong.append(text)
                continue
            file = driver.target("data") / "file"
            file.write_text(str(turn))
            os.sync()
            if file.read_text() != str(turn) or not image.exists():
                wrong.append(f"turn {turn}: it went away")
            wrong.extend(filter(None, [driver.unmount("data")]))
        ended.set()

    pods = threading.Thread(target=live)
    pods.start()
    while not ended.is_set():
        try:
            deleted += room.delete(DATA, soon()) is not None
        except BusyError:
            refused += 1
    pods.join()
    assert wrong == []
    assert deleted
    assert refused
    assert driver.mounts() == []
    room.delete(DATA, soon())
    assert list(image.parent.iterdir()) == []
