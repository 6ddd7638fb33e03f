"""What tests of the volume driver share: a kubelet's directory, an agent, calls as a kubelet's."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ringbolt.linux import mount as mounting
from ringbolt.linux.mount import MountPoint
from tests.kernel.launcher_lab import HANGS_S, ROOT

CONFIG = """\
volumes:
  roots: [{folder}/srv]
  allow:
    - {{namespaces: ["*"], kinds: [tmpfs, dir, loop], max_size: 1Gi}}
"""


@dataclass
class Driver:
    """`argv` is the driver; `folder` has the directories of kubelet and agent."""

    argv: tuple[str, ...]
    folder: Path
    pod: str = "u1"

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def kubelet(self) -> Path:
        return self.folder / "kubelet"

    def target(self, name: str) -> Path:
        """The directory of a pod's volume, made as a kubelet makes it."""
        path = self.kubelet / "pods" / self.pod / "volumes" / "ringbolt.dev~volume" / name
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        return path

    def call(self, *arguments: str) -> dict[str, Any]:
        """One call; a kubelet reads both outputs as one, and so do we."""
        done = subprocess.run(
            [*self.argv, *arguments],
            cwd=ROOT,
            env={"RINGBOLT_SOCKET": str(self.run_dir / "agent.sock"), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=HANGS_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def mount(self, where: str, /, said: Mapping[str, str] | None = None, **written: str) -> str:
        """Mount it at the target `where`; "" or what a kubelet is told."""
        options = self.said(where) | dict(said or {}) | written
        return _told(self.call("mount", str(self.target(where)), json.dumps(options)))

    def unmount(self, name: str) -> str:
        """As a kubelet, which then removes the directory."""
        told = _told(self.call("unmount", str(self.target(name))))
        if not told:
            self.target(name).rmdir()
        return told

    def said(self, name: str) -> dict[str, str]:
        """What a kubelet says of itself."""
        return {
            "kubernetes.io/fsType": "",
            "kubernetes.io/readwrite": "rw",
            "kubernetes.io/pvOrVolumeName": name,
            "kubernetes.io/pod.name": "web-0",
            "kubernetes.io/pod.namespace": "default",
            "kubernetes.io/pod.uid": self.pod,
            "kubernetes.io/serviceAccount.name": "default",
            "kubernetes.io/secret/key": base64.b64encode(b"swordfish").decode(),
        }

    def mounts(self) -> list[MountPoint]:
        """What is mounted below the kubelet's directory."""
        inside = f"{self.kubelet}/"
        return [one for one in mounting.read_mountinfo() if one.target.startswith(inside)]


def _told(answer: Mapping[str, Any]) -> str:
    if answer["status"] == "Success":
        return ""
    return str(answer["message"])


@contextmanager
def prepared(folder: Path, config: str = CONFIG) -> Generator[None]:
    """A node's directories, the kubelet's a shared mount, and a configuration."""
    for name in ("kubelet", "run", "state", "srv", "plugin"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(config.format(folder=folder))
    kubelet = str(folder / "kubelet")
    mounting.bind(kubelet, kubelet)
    try:
        mounting.set_propagation(kubelet, mounting.MS_SHARED)
        yield
    finally:
        mounting.umount(kubelet, mounting.MNT_DETACH)


def install(folder: Path, program: Path) -> tuple[str, ...]:
    """The launcher under the name that makes it a driver."""
    driver = folder / "plugin" / "volume"
    shutil.copy(program, driver)
    return (str(driver),)


@contextmanager
def agent(
    folder: Path, program: Sequence[str] = ("-m", "daemon")
) -> Generator["subprocess.Popen[bytes]"]:
    """An agent that listens; it logs to agent.log. `program` is what Python runs as one."""
    options = {
        "--config": folder / "config.yaml",
        "--kubelet-dir": folder / "kubelet",
        "--run-dir": folder / "run",
        "--state-dir": folder / "state",
        "--cdi-dir": folder / "cdi",
        "--http": "",
    }
    words = [str(word) for option in options.items() for word in option]
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *program, "agent", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
        )
    with process:
        try:
            _wait_for(folder / "run" / "agent.sock", process)
            yield process
        finally:
            process.terminate()


def _wait_for(socket: Path, process: "subprocess.Popen[bytes]") -> None:
    end = monotonic() + HANGS_S
    while not socket.exists():
        assert process.poll() is None, "the agent ended"
        assert monotonic() < end
        sleep(0.02)


def log_lines(folder: Path) -> list[dict[str, Any]]:
    """What the agent logged."""
    return [json.loads(line) for line in (folder / "agent.log").read_text().splitlines()]
