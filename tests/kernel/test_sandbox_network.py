"""The network of the sandbox's pods, by each of the two means: real namespaces, agent, plugin."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from ringbolt.linux import mount, nft
from ringbolt.network.leases import Leases
from ringbolt.network.ledger import Ledger
from ringbolt.sandbox.ability import Ability, Means, find_ability
from ringbolt.sandbox.cni_exec import Ended
from ringbolt.sandbox.cni_install import servable
from ringbolt.sandbox.container_process import LogLine
from ringbolt.sandbox.pod import ContainerPort, ContainerSpec, Pod, PodUid, RestartPolicy
from ringbolt.sandbox.pod_network import NetworkError
from ringbolt.sandbox.pod_worker import PodFailedError, PodWorker
from ringbolt.sandbox.session import Session, open_session
from tests.kernel.container_lab import NAMESPACED

DEADLINE_S = 60
ROOT = Path(__file__).parents[2]
NETWORK = {
    "name": "lab",
    "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]],
    "masquerade": True,
}


@pytest.fixture(params=["root", "user namespace"])
def ability(request: pytest.FixtureRequest, need_program: Any) -> Ability:
    need_program("ip", "iproute2")
    if lacks := servable({"network": NETWORK}).lacks:
        pytest.skip("; ".join(lacks))
    found = find_ability()
    if request.param == "user namespace":
        return NAMESPACED
    if found.means is not Means.ROOT:
        pytest.skip("needs real root: run as root")
    return found


@dataclass(frozen=True)
class Lab:
    """A session whose pods have a network."""

    session: Session

    @property
    def top(self) -> Path:
        return self.session.agent.place.run.parent

    def leases(self) -> int:
        """How many there are, of whichever agent serves the network."""
        apart = self.top / "network/run"
        leases = Leases(Ledger(apart if apart.exists() else self.top / "run"))
        try:
            return len(leases.all())
        finally:
            leases.close()

    def kept(self) -> list[str]:
        """The pods' network namespaces that are kept at a path."""
        return [path.name for path in (self.top / "netns").iterdir() if path.name != "outside"]

    def noting(self, commands: list[str]) -> "Lab":
        """The same, which notes each exec of a plugin."""
        network = self.session.runtime.network
        assert network is not None
        run = network.cni.run

        async def noted(program: Path, variables: Mapping[str, str], stdin: bytes) -> Ended:
            commands.append(variables["CNI_COMMAND"])
            return await run(program, variables, stdin)

        network = replace(network, cni=replace(network.cni, run=noted))
        return Lab(replace(self.session, runtime=replace(self.session.runtime, network=network)))

    async def run(self, pod: Pod) -> int:
        worker = PodWorker(self.session.kubelet, self.session.runtime)
        return (await asyncio.wait_for(worker.run(pod), DEADLINE_S)).exit_code


class Lines(list[str]):
    """What pods wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def hear(self, line: LogLine) -> None:
        self.append(line.text)
        self.changed.set()


@asynccontextmanager
async def lab(ability: Ability, written: Lines) -> AsyncIterator[Lab]:
    config = yaml.safe_dump({"resources": [], "network": NETWORK})
    async with open_session(config, ability, listener=written.hear) as session:
        yield Lab(session)


def pod(name: str, script: str, **changes: Any) -> Pod:
    ports = changes.pop("ports", ())
    fields = {"POD_IPS": "status.podIPs", "HOST_IP": "status.hostIP"}
    spec = ContainerSpec("c", command=("sh", "-c", script), ports=ports, env_fields=fields)
    made = Pod(name, "default", PodUid(name), (spec,), restart_policy=RestartPolicy.NEVER)
    return replace(made, **changes)


def host_links() -> list[str]:
    said = subprocess.run(["ip", "-j", "link"], capture_output=True, check=True).stdout
    return [one["ifname"] for one in json.loads(said)]


async def test_a_pod_has_what_its_status_says_and_gives_it_back(ability: Ability) -> None:
    written = Lines()
    before = host_links()
    async with lab(ability, written) as node:
        assert node.session.network_lacks == ()
        script = "echo $POD_IPS $HOST_IP; ip -j addr show eth0; ip -j route"
        assert await node.run(pod("one", script)) == 0
        assert host_links() == before
        assert (node.leases(), node.kept()) == (0, [])
    told, links, routes = written[0], json.loads(written[1]), json.loads(written[2])
    found = [one["local"] for one in links[0]["addr_info"] if one["scope"] == "global"]
    assert told == f"{','.join(found)} 192.0.2.1" == "10.77.0.2,fd00:77::2 192.0.2.1"
    assert any(one["dst"] == "default" and one["gateway"] == "10.77.0.1" for one in routes)


async def test_while_it_runs_a_pod_has_one_lease_one_path_and_a_status(ability: Ability) -> None:
    written = Lines()
    async with lab(ability, written) as node, node.session.runtime.pod(pod("one", "")) as sandbox:
        (path,) = node.kept()
        assert path.startswith("cni-")
        assert node.leases() == 1
        assert sandbox.addresses.ips == ("10.77.0.2", "fd00:77::2")
        assert sandbox.addresses.added_s > 0


async def test_the_host_network_is_the_nodes(ability: Ability) -> None:
    written = Lines()
    async with lab(ability, written) as node:
        script = "echo $POD_IPS; ip -j link | tr ',' '\\n' | grep -c uplink0; hostname"
        assert await node.run(pod("one", script, host_network=True)) == 0
        assert node.leases() == 0
    assert written == ["192.0.2.1,2001:db8::1", "1", "one"]


async def test_a_pod_that_cannot_be_attached_leaves_nothing(ability: Ability) -> None:
    written = Lines()
    wanted = (ContainerPort(80, 8080),)
    async with lab(ability, written) as node:
        async with node.session.runtime.pod(pod("first", "", ports=wanted)):
            commands: list[str] = []
            with pytest.raises(PodFailedError, match=r"FailedCreatePodSandBox.*8080"):
                await node.noting(commands).run(pod("second", "true", ports=wanted))
            assert commands == ["ADD", "DEL"]
            assert (node.leases(), len(node.kept())) == (1, 1)
        unreal = {"kubernetes.io/ingress-bandwidth": "1"}
        with pytest.raises(PodFailedError, match="between 1k and 1P"):
            await node.run(pod("third", "true", annotations=unreal))
        assert (node.leases(), node.kept()) == (0, [])


async def test_a_pod_that_is_stopped_is_detached(ability: Ability) -> None:
    written = Lines()
    async with lab(ability, written) as node:
        running = asyncio.create_task(node.run(pod("one", "echo here; sleep 1000", grace_s=1)))
        await asyncio.wait_for(written.changed.wait(), DEADLINE_S)
        assert node.leases() == 1
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (node.leases(), node.kept()) == (0, [])


async def test_without_its_configuration_the_network_is_not_ready(ability: Ability) -> None:
    written = Lines()
    async with lab(ability, written) as node:
        network = node.session.runtime.network
        assert network is not None
        await network.wait_ready(0)
        (conf,) = network.cni.conf_dir.iterdir()
        conf.unlink()
        with pytest.raises(NetworkError, match=r"NetworkReady=false.*no network config found"):
            await network.wait_ready(0)


@pytest.mark.root
def test_the_demo_names_what_is_missing_and_shows_the_rest() -> None:
    """This test's own mount namespace has neither a launcher nor libnftables."""
    if find_ability().means is Means.NONE:
        pytest.skip(find_ability().lacks[0])
    nft.load()
    maps = Path("/proc/self/maps").read_text().splitlines()
    library = next(line.split()[-1] for line in maps if "libnftables" in line)
    with ExitStack() as undo:
        mount.bind("/dev/null", library)
        undo.callback(mount.umount, library)
        for folder in (ROOT / "build/launcher", Path(sys.prefix, "share/ringbolt/launcher")):
            if folder.exists():
                mount.mount("tmpfs", str(folder), "tmpfs")
                undo.callback(mount.umount, str(folder))
        words = [sys.executable, "-m", "daemon", "sandbox", "demo"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: masquerade and host ports: nftables needs libnftables.so.1" in done.stdout
    assert "left out: the launcher, for which `python -m cni` stands in" in done.stdout
    assert "pod to pod: fd00:10:244::" in done.stdout
    assert "masquerade:" not in done.stdout


def test_nothing_outlives_a_sandbox_that_is_killed(ability: Ability, tmp_path: Path) -> None:
    if ability.means is not Means.ROOT:
        pytest.skip("what the sandbox may do is found by itself: shown once, as root")
    config, file = tmp_path / "config.yaml", tmp_path / "pod.yaml"
    config.write_text(yaml.safe_dump({"resources": [], "network": NETWORK}))
    file.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
        "  - {name: c, command: [sh, -c, 'echo here; sleep 1000']}\n"
    )
    words = [sys.executable, "-m", "daemon", "sandbox", "run", "--config", str(config), str(file)]
    own = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=own) as sandbox:
        assert sandbox.stdout is not None
        assert any("p/c | here" in line for line in sandbox.stdout)
        children = psutil.Process(sandbox.pid).children(recursive=True)
        assert len(children) >= 4  # agent, node, pod and container
        sandbox.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(children, timeout=DEADLINE_S)
    assert (len(gone), alive) == (len(children), [])
