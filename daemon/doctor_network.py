"""What pods' networks need: plugin, configuration, packet filter, kernel. Checks for `doctor`."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from cni.codes import CniError
from daemon import cni_conflist, cni_install, frame
from daemon.cni_networks import configurations
from daemon.doctor import Check, Finding, Node, Verdict
from daemon.doctor_node import ask
from ringbolt.linux import command, nft_features, sysctl
from ringbolt.linux.nft import Nftables
from ringbolt.network.abilities import find_missing_abilities
from ringbolt.network.errors import NotAvailableError
from ringbolt.network.firewall import Firewall
from ringbolt.network.foreign_drop import find_drop, find_legacy
from ringbolt.network.settings import Settings

_PLUGIN_S = 5.0
_INSTALL = "ringbolt install"
_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


def _network(node: Node) -> Finding:
    """The file that runtimes read: there, first, and of the configuration as it is now."""
    folder = node.places.cni_conf_dir
    path = folder / cni_conflist.NAME
    names = [one.name for one in configurations(folder, [])]
    if not node.has_network:
        return Finding(Verdict.OK, "none is configured: pods get theirs from elsewhere")
    if cni_conflist.NAME not in names:
        bad = Verdict.WARN if names else Verdict.FAIL
        return Finding(bad, f"{path} is not there: no runtime knows of the network", _INSTALL)
    if first := cni_conflist.preferred(names):
        what = f"runtimes use {folder / first[0]}, which comes before {cni_conflist.NAME}"
        return Finding(Verdict.WARN, what, "move it away once its pods are gone")
    if node.lacks:
        return Finding(Verdict.FAIL, "; ".join(node.lacks), "mend or remove it")
    return _compared(node, path) or Finding(Verdict.OK, f"{path} is the first that runtimes read")


def _compared(node: Node, path: Path) -> Finding | None:
    """What is wrong with the installed file beside the configuration."""
    if node.config is None or node.config.network is None:
        return None
    try:
        wanted = cni_conflist.conflist(node.config.network)
    except CniError as error:
        return Finding(Verdict.FAIL, f"network: {error}", "correct the configuration")
    if path.read_bytes() == wanted:
        return None
    return Finding(Verdict.WARN, f"{path} is not what the configuration says", _INSTALL)


def _plugin(node: Node) -> Finding:
    path = node.places.cni_bin_dir / cni_conflist.PLUGIN
    if not path.exists():
        return Finding(Verdict.FAIL, f"{path} is not there: no pod can start", _INSTALL)
    environment = {**command.ENVIRONMENT, "CNI_COMMAND": "VERSION"}
    try:
        done = command.run([str(path)], environment, _PLUGIN_S)
    except OSError as error:
        return Finding(Verdict.FAIL, f"{path} cannot be run: {error.strerror}", _INSTALL)
    if done.failure:
        return Finding(Verdict.FAIL, f"{path} does not answer: {done.failure}", _INSTALL)
    try:
        ours = cni_install.find_launcher().read_bytes()
    except OSError:
        return Finding(Verdict.OK, f"{path} answers")
    if path.read_bytes() != ours:
        return Finding(Verdict.WARN, f"{path} answers, and is of another version", _INSTALL)
    return Finding(Verdict.OK, f"{path} answers")


def _loopback(node: Node) -> Finding:
    path = node.places.cni_bin_dir / "loopback"
    if os.access(path, os.X_OK):
        return Finding(Verdict.OK, f"{path} is there")
    return Finding(
        Verdict.WARN,
        f"{path} is not there: containerd starts no pod without it",
        "install the reference CNI plugins, or set use_internal_loopback; CRI-O needs neither",
    )


def _kernel(_node: Node) -> Finding:
    missing = find_missing_abilities()
    if not missing:
        return Finding(Verdict.OK, "it makes all that pods need")
    vital = any("bandwidth" not in one for one in missing)
    todo = "load or build the modules that these options name"
    return Finding(Verdict.FAIL if vital else Verdict.WARN, f"it lacks {', '.join(missing)}", todo)


def _packet_filter(node: Node) -> Finding:
    """What libnftables and the kernel can do together."""
    bad = Verdict.FAIL if _masquerades(node) else Verdict.WARN
    try:
        with Nftables() as nft:
            missing = set(nft_features.Feature) - nft_features.probe(nft)
    except FileNotFoundError as error:
        return Finding(bad, "libnftables is not there: no masquerading", str(error.strerror))
    if missing:
        names = ", ".join(sorted(one.value for one in missing))
        return Finding(bad, f"nftables lacks {names}", "load or build what is named")
    return Finding(Verdict.OK, "nftables can do all that masquerading and host ports need")


def _forwarding(node: Node) -> Finding:
    needed = [_FORWARDING[version] for version in sorted(_versions(node))]
    off = [name for name in needed if sysctl.read(name) == "0"]
    if not off:
        return Finding(Verdict.OK, "the node forwards what pods send")
    todo = " ".join(["sysctl -w", *(f"{one.replace('/', '.')}=1" for one in off)])
    what = f"the node does not forward ({', '.join(off)}); the first pod switches it on"
    attached = node.places.run_dir.exists() and cni_install.count_attached(node.places.run_dir)
    if attached:
        what = f"the node does not forward ({', '.join(off)}), though it has pods"
    return Finding(Verdict.FAIL if attached else Verdict.WARN, what, todo)


def _foreign_drop(node: Node) -> Finding | None:
    firewall = Firewall(list)
    try:
        for settings in _settings(node):
            drop = "" if settings.open_forward else find_drop(firewall, settings)
            if drop:
                what, _, todo = drop.partition(": ")
                return Finding(Verdict.FAIL, what, todo)
    except NotAvailableError:
        return None
    finally:
        firewall.close()
    if legacy := find_legacy():
        what, _, todo = legacy.partition(": ")
        return Finding(Verdict.WARN, what, todo)
    return Finding(Verdict.OK, "no other packet filter drops what pods send")


def _status(node: Node) -> Finding | None:
    """What the agent tells a runtime that asks whether pods can be attached."""
    path = node.places.cni_conf_dir / cni_conflist.NAME
    if not path.exists():
        return None
    whole = json.loads(path.read_bytes())
    plugin = whole["plugins"][0] | {"name": whole["name"], "cniVersion": "1.1.0"}
    environment = {"CNI_COMMAND": "STATUS", "CNI_PATH": str(node.places.cni_bin_dir)}
    arguments = (cni_conflist.PLUGIN,)
    call = frame.Call(frame.Kind.CNI, arguments, environment, json.dumps(plugin).encode())
    try:
        answer = ask(node.places.socket, call)
    except (OSError, frame.FrameError):
        return None  # the check of the agent says so
    if isinstance(answer, str):
        return Finding(Verdict.FAIL, f"the agent refuses: {answer}", "read its log")
    if answer.code:
        told = json.loads(answer.stdout)
        what = " ".join(filter(None, (told.get("msg", ""), told.get("details", ""))))
        return Finding(Verdict.FAIL, f"no pod can be attached: {what}", "do what it says")
    return Finding(Verdict.OK, "pods can be attached")


def _masquerades(node: Node) -> bool:
    configured = node.config and node.config.network and node.config.network.masquerade
    return bool(configured) or any(one.masquerade for one in _settings(node))


def _settings(node: Node) -> tuple[Settings, ...]:
    return tuple((node.networks or {}).values())


def _versions(node: Node) -> frozenset[int]:
    found = {
        one.subnet.version
        for settings in _settings(node)
        for ranges in settings.ranges
        for one in ranges
    }
    return frozenset(found or {4})


def _with_network(check: Check) -> Callable[[Node], Finding | None]:
    return lambda node: check(node) if node.has_network else None


CHECKS: tuple[tuple[str, Check], ...] = (
    ("network", _network),
    *(
        (name, _with_network(check))
        for name, check in (
            ("plugin", _plugin),
            ("loopback plugin", _loopback),
            ("kernel", _kernel),
            ("packet filter", _packet_filter),
            ("forwarding", _forwarding),
            ("foreign filter", _foreign_drop),
            ("status", _status),
        )
    ),
)
