"""What `ringbolt install` puts into a node's folders and says, and what uninstalling leaves."""

import ipaddress
import json
import platform
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cni.configuration import Configuration
from cni.fields import Fields
from cni.network_settings import read_settings
from daemon import installation, volume_install
from daemon.cli import cli
from daemon.cni_conflist import NAME, conflist, preferred
from daemon.cni_install import find_launcher
from daemon.options import AddressRange, Bandwidth, NetworkMode, NetworkOptions, Route
from ringbolt.network.attachment import ContainerId, InterfaceName, Key
from ringbolt.network.leases import Leases, Netns, Request
from ringbolt.network.ledger import Ledger
from ringbolt.network.settings import Mode, NetworkName, Range
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy
from ringbolt.volumes.records import Published, Records
from ringbolt.volumes.setting import Setting, write_setting
from ringbolt.volumes.spec import Loop
from ringbolt.volumes.volume import Namespace, Publication, Tenant, Volume

PROGRAM = b"\x7fELF, as far as anyone here looks"
NETWORK = """\
network:
  name: pods
  ranges: [[{subnet: 10.244.0.0/24}], [{subnet: "fd00:10:244::/64"}]]
  masquerade: true
"""


class Node:
    """A node's folders, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.conf = folder / "net.d"
        self.state = folder / "state"
        self.run_dir = folder / "run"
        self.config = folder / "config.yaml"
        self.launcher = folder / "launcher"
        self.program = self.bin / "ringbolt"
        self.conflist = self.conf / NAME
        self.config.write_text(NETWORK)
        self.launcher.write_bytes(PROGRAM)
        self.bin.mkdir()
        (self.bin / "loopback").touch()

    def install(self, *more: str) -> Result:
        return self._call("install", "--launcher", str(self.launcher), *more)

    def uninstall(self, *more: str) -> Result:
        return self._call("uninstall", "--run-dir", str(self.run_dir), *more)

    def _call(self, command: str, *more: str) -> Result:
        places = ["--cni-bin-dir", str(self.bin), "--cni-conf-dir", str(self.conf)]
        places += ["--state-dir", str(self.state)]
        return CliRunner().invoke(cli, [command, *places, "--config", str(self.config), *more])

    def attach(self) -> None:
        """Have a pod hold an address."""
        leases = Leases(Ledger(self.run_dir))
        ranges = (Range(ipaddress.ip_network("10.244.0.0/24")),)
        key = Key(ContainerId("c1"), InterfaceName("eth0"))
        leases.acquire(Request(NetworkName("pods"), key, Netns(4, 1), (ranges,)))
        leases.close()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- The configuration -----------------------------------------------------------------------


def test_the_plugin_reads_what_the_operator_wrote() -> None:
    options = NetworkOptions(
        name="pods",
        ranges=((AddressRange("10.1.0.0/16", "10.1.0.9", "10.1.0.99", "10.1.0.1"),),),
        bridge="br7",
        routes=(Route("10.9.0.0/16", "10.1.0.7"), Route("10.8.0.0/16")),
        masquerade=True,
        mtu=1400,
        is_gateway=False,
        hairpin=True,
        bandwidth=Bandwidth(8_000_000, 800_000, 0, 0),
    )
    wire = json.loads(conflist(options))
    (plugin,) = wire["plugins"]
    settings = read_settings(Configuration(wire["name"], "1.0.0", Fields(plugin), b""))
    first, last, gateway = map(ipaddress.ip_address, ("10.1.0.9", "10.1.0.99", "10.1.0.1"))
    subnet = ipaddress.ip_network("10.1.0.0/16")
    assert settings.ranges == ((Range(subnet, first, last, gateway),),)
    assert (settings.name, settings.mode, settings.bridge) == ("pods", Mode.BRIDGE, "br7")
    assert (settings.masquerade, settings.mtu, settings.gateway) == (True, 1400, False)
    assert (settings.hairpin, settings.promiscuous) == (True, False)
    assert [str(route.gateway) for route in settings.routes] == ["10.1.0.7", "None"]
    assert (plugin["ingressRate"], plugin["egressRate"]) == (8_000_000, 0)


def test_what_was_not_asked_for_is_left_to_the_plugin() -> None:
    options = NetworkOptions(mode=NetworkMode.ROUTED, ranges=((AddressRange("fd00::/64"),),))
    (plugin,) = json.loads(conflist(options))["plugins"]
    assert plugin["mode"] == "routed"
    assert not {"bridge", "mtu", "vlan", "ingressRate", "hairpinMode"} & plugin.keys()


def test_old_runtimes_see_a_version_that_they_know_and_new_ones_the_newest() -> None:
    wire = json.loads(conflist(NetworkOptions(ranges=((AddressRange("10.1.0.0/16"),),))))
    assert wire["cniVersion"] == "1.0.0"
    assert wire["cniVersions"] == ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_a_runtime_is_asked_for_what_the_plugin_reads() -> None:
    options = NetworkOptions(ranges=((AddressRange("10.1.0.0/16"),),))
    (plugin,) = json.loads(conflist(options))["plugins"]
    assert plugin["capabilities"] == {
        "bandwidth": True,
        "dns": True,
        "io.kubernetes.cri.pod-annotations": True,
        "ips": True,
        "mac": True,
        "portMappings": True,
    }


def test_only_configurations_that_sort_before_ours_are_preferred() -> None:
    found = preferred(["99-x.conf", "10-kindnet.conflist", NAME, "05-a.json", "00-notes.txt", "1"])
    assert found == ("05-a.json", "10-kindnet.conflist")


# --- Installing ------------------------------------------------------------------------------


def test_the_program_and_the_network_are_installed(node: Node) -> None:
    done = node.install()
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"installed {node.program}\ninstalled {node.conflist}\n"
    assert node.program.read_bytes() == PROGRAM
    assert node.program.stat().st_mode & 0o7777 == 0o755
    assert node.conflist.stat().st_mode & 0o7777 == 0o644
    assert json.loads(node.conflist.read_text())["name"] == "pods"
    assert names(node.bin) == ["loopback", "ringbolt"]
    assert names(node.conf) == [NAME]


def test_installing_again_changes_nothing(node: Node) -> None:
    node.install()
    before = (node.program.stat().st_ino, node.conflist.stat().st_ino, node.conflist.read_bytes())
    done = node.install()
    after = (node.program.stat().st_ino, node.conflist.stat().st_ino, node.conflist.read_bytes())
    assert after == before
    assert done.stdout == f"is up to date: {node.program}\nis up to date: {node.conflist}\n"


def test_a_program_that_runs_is_replaced_and_not_written_over(node: Node) -> None:
    node.install()
    with node.program.open("rb") as running:
        node.launcher.write_bytes(b"a newer one")
        assert node.install().exit_code == 0
        assert running.read() == PROGRAM
    assert node.program.read_bytes() == b"a newer one"


def test_a_program_that_lost_its_mode_is_mended(node: Node) -> None:
    node.install()
    node.program.chmod(0o644)
    assert node.install().exit_code == 0
    assert node.program.stat().st_mode & 0o7777 == 0o755


def test_what_an_interrupted_install_left_is_no_obstacle(node: Node) -> None:
    node.conf.mkdir()
    (node.conf / f".{NAME}.new").write_text("half")
    (node.conf / NAME).symlink_to("elsewhere")
    assert node.install().exit_code == 0
    assert names(node.conf) == [NAME]
    assert node.conflist.is_file()
    assert not node.conflist.is_symlink()


def test_a_network_that_comes_first_is_told(node: Node) -> None:
    node.conf.mkdir()
    (node.conf / "05-other.conflist").write_text("{}")
    done = node.install()
    assert done.exit_code == 0
    assert f"warning: runtimes use {node.conf}/05-other.conflist and not {NAME}" in done.stderr


def test_a_missing_loopback_plugin_is_told(node: Node) -> None:
    (node.bin / "loopback").unlink()
    done = node.install()
    assert done.exit_code == 0
    assert "has no loopback plugin" in done.stderr


VOLUMES = "volumes: {allow: [{kinds: [tmpfs]}]}\n"


def test_the_driver_is_one_file_where_the_kubelet_looks(node: Node, tmp_path: Path) -> None:
    node.config.write_text(VOLUMES)
    folder = tmp_path / "exec"
    done = node.install("--flexvolume-dir", str(folder))
    assert done.exit_code == 0, done.output
    driver = folder / "ringbolt.dev~volume" / "volume"
    assert names(driver.parent) == ["volume"], "a kubelet asks again for each file beside it"
    assert (driver.read_bytes(), driver.stat().st_mode & 0o777) == (PROGRAM, 0o755)
    assert names(node.bin) == ["loopback"], "no network was asked for"
    with installation.installed(node.state) as files:
        assert [one.path for one in files] == [driver]
    done = node.uninstall("--flexvolume-dir", str(folder))
    assert done.exit_code == 0, done.output
    assert names(folder) == []


def test_the_driver_stays_while_a_pod_has_a_volume(node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "exec"
    node.config.write_text(VOLUMES)
    node.install("--flexvolume-dir", str(folder))
    places = Places(node.run_dir, node.state, tmp_path / "kubelet")
    write_setting(Setting(places, Policy()))
    volume = Volume(Loop("data"), Namespace("shop"))
    target = tmp_path / "kubelet/pods/u1/volumes/ringbolt.dev~volume/data"
    place = Publication(target, Tenant(Namespace("shop")))
    Records(node.run_dir).put_published(Published(volume, place, 0.0))
    driver = folder / "ringbolt.dev~volume" / "volume"
    done = node.uninstall("--flexvolume-dir", str(folder))
    assert "stays: it must unmount the volumes that pods still have (loop.shop.data)" in done.output
    assert driver.exists()
    (node.run_dir / "volumes" / "setting.json").write_text("{")
    assert "cannot be read" in node.uninstall("--flexvolume-dir", str(folder)).output
    node.uninstall("--flexvolume-dir", str(folder), "--force")
    assert not driver.exists()


@pytest.mark.parametrize(
    ("commands", "found"),
    [
        ([["/usr/bin/kubelet", "--volume-plugin-dir=/a"]], "/a"),
        ([["/usr/bin/kubelet", "--volume-plugin-dir", "/a"]], "/a"),
        ([["/usr/bin/kubelet", "--volume-plugin-dir=/a", "--config=/etc/k.yaml"]], "/a"),
        ([["sh"], ["/usr/bin/kubelet", "--config=/etc/k.yaml"]], "/b"),
        ([["/usr/bin/kubelet", "--config", "/etc/empty.yaml"]], volume_install.DEFAULT),
        ([["kubelet"]], volume_install.DEFAULT),
        ([["k3s", "server", "--kubelet-arg=volume-plugin-dir=/c"]], "/c"),
        ([["k3s", "server", "--kubelet-arg", "volume-plugin-dir=/c"]], "/c"),
        ([["sh", "-c", "kubelet"]], "/home/kubernetes/flexvolume"),
        ([], "/home/kubernetes/flexvolume"),
    ],
)
def test_the_folder_is_what_the_kubelet_itself_says(
    tmp_path: Path, commands: list[list[str]], found: str
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/k.yaml").write_text("volumePluginDir: /b\n")
    (tmp_path / "etc/empty.yaml").write_text("")
    (tmp_path / "home/kubernetes/flexvolume").mkdir(parents=True)
    assert volume_install.find_folder(tmp_path, commands) == Path(found)


def test_the_folder_is_the_default_where_nothing_is_known(tmp_path: Path) -> None:
    assert volume_install.find_folder(tmp_path, []) == volume_install.DEFAULT


# --- Refusing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resources: []\n", "neither a `network:` nor a `volumes:` section"),
        ("network: {ranges: [[{subnet: 10.1.0.0/16}]], vlan: 5}\n", "unsupported field vlan"),
        ("network: {ranges: [[{subnet: 10.1.0.0/99}]]}\n", "10.1.0.0/99"),
    ],
)
def test_a_network_that_nobody_can_serve_changes_nothing(node: Node, text: str, said: str) -> None:
    node.config.write_text(text)
    done = node.install()
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr
    assert names(node.bin) == ["loopback"]
    assert not node.conf.exists()


def test_the_launcher_for_this_kind_of_machine_is_found(tmp_path: Path) -> None:
    built, packaged = tmp_path / "build", tmp_path / "share"
    for folder in (built, packaged):
        folder.mkdir()
    (built / "launcher-pdp11").touch()
    with pytest.raises(FileNotFoundError, match="no launcher was built") as caught:
        find_launcher((built, packaged))
    assert str(packaged) in str(caught.value)
    own = packaged / f"launcher-{platform.machine()}"
    own.touch()
    assert find_launcher((built, packaged)) == own


def test_without_a_launcher_nothing_is_installed(node: Node) -> None:
    node.launcher.unlink()
    done = node.install()
    assert done.exit_code == 1
    assert str(node.launcher) in done.stderr
    assert not node.conf.exists()


def test_where_it_may_not_write_it_says_so_in_one_sentence(node: Node) -> None:
    node.conf.write_text("a file where the folder should be")
    done = node.install()
    assert done.exit_code == 1
    assert done.stderr == (
        f"error: {node.conflist}: File exists; run it as root, with this folder writable\n"
    )
    assert node.program.exists(), "the program comes first"


# --- Uninstalling ----------------------------------------------------------------------------


def test_uninstalling_leaves_what_others_put_there(node: Node) -> None:
    node.install()
    (node.conf / f".{NAME}.new").write_text("half")
    (node.conf / "99-other.conf").write_text("{}")
    done = node.uninstall()
    assert (done.exit_code, done.stderr) == (0, "")
    assert names(node.bin) == ["loopback"]
    assert names(node.conf) == ["99-other.conf"]
    assert not node.run_dir.exists()


def test_uninstalling_what_is_not_there_is_well(node: Node) -> None:
    done = node.uninstall()
    assert done.exit_code == 0
    assert f"was not there: {node.conflist}" in done.stdout


def test_the_program_stays_while_a_pod_is_attached(node: Node) -> None:
    node.install()
    node.attach()
    done = node.uninstall()
    assert done.exit_code == 0
    assert not node.conflist.exists()
    assert node.program.read_bytes() == PROGRAM
    assert (
        f"{node.program} stays: it must detach the pods that are still attached (1)" in done.stderr
    )


def test_unreadable_leases_keep_the_program(node: Node) -> None:
    node.install()
    node.attach()
    for path in node.run_dir.glob("leases-*.sqlite*"):
        path.write_bytes(b"no database" * 100)
    done = node.uninstall()
    assert node.program.exists()
    assert "cannot be read" in done.stderr


def test_force_removes_the_program_under_attached_pods(node: Node) -> None:
    node.install()
    node.attach()
    assert node.uninstall("--force").exit_code == 0
    assert names(node.bin) == ["loopback"]


# --- What the agent puts back ----------------------------------------------------------------


def test_what_is_installed_is_recorded_until_it_is_uninstalled(node: Node) -> None:
    node.install()
    with installation.installed(node.state) as files:
        assert [(one.path, one.content, one.mode) for one in files] == [
            (node.program, PROGRAM, 0o755),
            (node.conflist, node.conflist.read_bytes(), 0o644),
        ]
    node.uninstall()
    with installation.installed(node.state) as files:
        assert files == ()


def test_what_could_not_be_installed_is_not_recorded(node: Node) -> None:
    node.program.mkdir()
    assert node.install().exit_code == 1
    assert names(node.state) == []
