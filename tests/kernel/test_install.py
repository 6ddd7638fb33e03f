"""What the kernel tells a runtime's watcher of an install, and that what is installed runs."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from asyncinotify import Inotify, Mask
from click.testing import CliRunner

from daemon import cni_install
from daemon.cli import cli
from daemon.cni_conflist import NAME
from ringbolt.linux import mount
from tests.kernel.launcher_lab import build


@pytest.mark.parametrize("times", [1, 2])
def test_a_watcher_that_ignores_creation_hears_of_a_write_to_the_whole_file(
    tmp_path: Path, times: int
) -> None:
    path = tmp_path / NAME
    with Inotify(sync_timeout=0) as inotify:
        for _ in range(times):
            list(inotify)
            inotify.add_watch(tmp_path, Mask.MODIFY | Mask.MOVED_TO)
            cni_install.place(path, b'{"name": "pods"}\n', 0o644)
            cni_install.announce(path)
            events = [(event.mask, event.name and event.name.name) for event in inotify]
            assert events[-1] == (Mask.MODIFY, NAME)
    assert path.read_bytes() == b'{"name": "pods"}\n'


def test_a_program_is_replaced_while_it_runs(tmp_path: Path) -> None:
    program = tmp_path / "ringbolt"
    cni_install.place(program, Path("/bin/cat").resolve().read_bytes(), 0o755)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as running:
        assert cni_install.place(program, b"newer", 0o755)
        assert program.read_bytes() == b"newer"
        running.communicate()
    assert running.returncode == 0


def test_a_folder_that_may_not_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    config, launcher, plugins = (tmp_path / name for name in ("config.yaml", "launcher", "bin"))
    config.write_text("network: {ranges: [[{subnet: 10.1.0.0/16}]]}\n")
    launcher.write_bytes(b"program")
    plugins.mkdir()
    mount.mount("none", str(plugins), "tmpfs", mount.MS_RDONLY)
    asked = ["install", "--launcher", str(launcher), "--config", str(config)]
    asked += [
        "--state-dir",
        str(tmp_path / "state"),
        "--cni-bin-dir",
        str(plugins),
        "--cni-conf-dir",
        str(tmp_path / "net.d"),
    ]
    try:
        done = CliRunner().invoke(cli, asked)
    finally:
        mount.umount(str(plugins))
    assert done.exit_code == 1
    assert done.output == (
        f"error: {plugins}/ringbolt: Read-only file system;"
        " run it as root, with this folder writable\n"
    )
    assert not (tmp_path / "net.d").exists(), "no network without its program"


def test_an_installed_launcher_answers(
    tmp_path: Path, need_program: Callable[[str, str], str]
) -> None:
    need_program("cc", "gcc")
    program = tmp_path / "bin" / "ringbolt"
    cni_install.place(program, build(tmp_path / "built").read_bytes(), 0o755)
    done = subprocess.run(
        [program], env={"CNI_COMMAND": "VERSION"}, input=b"{}", check=True, capture_output=True
    )
    assert "1.1.0" in json.loads(done.stdout)["supportedVersions"]
