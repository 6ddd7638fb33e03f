"""What the agent itself needs: configuration, kubelet, udev, folders. Checks for `doctor`."""

import os
import socket
from pathlib import Path

from daemon import frame
from daemon.doctor import Check, Finding, Node, Verdict
from daemon.options import Registration
from ringbolt.devices.scan import Scanner

_PATIENCE_S = 3.0
_START = "start it: systemctl start ringbolt, or ringbolt agent"


def _configuration(node: Node) -> Finding:
    path = node.places.config
    if node.problems:
        first = node.problems[0]
        more = f", and {len(node.problems) - 1} more" if len(node.problems) > 1 else ""
        return Finding(Verdict.FAIL, f"{first}{more}", f"ringbolt config check {path}")
    if node.config is None:
        return Finding(
            Verdict.WARN, f"{path}: no such file: nothing is served", "write one, or name it"
        )
    resources = len(node.config.resources)
    network = node.config.network
    served = f"{resources} resource{'s' if resources != 1 else ''}"
    return Finding(Verdict.OK, f"{served}{f', network {network.name}' if network else ''}")


def _kubelet(node: Node) -> Finding:
    folder = node.places.kubelet_dir
    wanted = bool(node.config and node.config.resources)
    bad = Verdict.FAIL if wanted else Verdict.WARN
    if node.config and node.config.kubelet.registration is Registration.PLUGINS_REGISTRY:
        registry = folder / "plugins_registry"
        if registry.is_dir():
            return Finding(Verdict.OK, f"{registry} is there")
        return Finding(bad, f"{registry} is not there", "start the kubelet, or set --kubelet-dir")
    return _listens(folder / "device-plugins" / "kubelet.sock", bad)


def _pod_resources(node: Node) -> Finding:
    return _listens(node.places.kubelet_dir / "pod-resources" / "kubelet.sock", Verdict.WARN)


def _listens(path: Path, bad: Verdict) -> Finding:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(_PATIENCE_S)
        try:
            one.connect(str(path))
        except OSError as error:
            what = f"no kubelet listens at {path}: {error.strerror or error}"
            return Finding(bad, what, "start the kubelet, or set --kubelet-dir")
    return Finding(Verdict.OK, f"a kubelet listens at {path}")


def _udev(_node: Node) -> Finding:
    if lacks := Scanner().lacks():
        what, _, todo = "; ".join(lacks).partition(": ")
        return Finding(Verdict.WARN, what, todo)
    return Finding(Verdict.OK, "udev's database is there")


def _run_dir(node: Node) -> Finding:
    return _writable(node.places.run_dir)


def _state_dir(node: Node) -> Finding:
    return _writable(node.places.state_dir)


def _writable(path: Path) -> Finding:
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        how = "can be written" if there == path else f"can be made in {there}"
        return Finding(Verdict.OK, f"{path} {how}")
    return Finding(Verdict.FAIL, f"{there} cannot be written", "mount it writable, run as root")


def _agent(node: Node) -> Finding:
    needed = node.has_network or bool(
        node.config and (node.config.resources or node.config.volumes)
    )
    bad = Verdict.FAIL if needed else Verdict.WARN
    path = node.places.socket
    try:
        answer = ask(path, frame.Call(frame.Kind.CNI, ("ringbolt",), {"CNI_COMMAND": "VERSION"}))
    except (OSError, frame.FrameError) as error:
        reason = getattr(error, "strerror", None) or error
        return Finding(bad, f"no agent answers at {path}: {reason}", _START)
    if isinstance(answer, str):
        return Finding(bad, f"the agent at {path} refuses calls: {answer}", "read its log")
    return Finding(Verdict.OK, f"the agent answers at {path}")


def ask(path: Path, call: frame.Call) -> frame.Answer | str:
    """The agent's answer to a call, or its refusal. Raises OSError, FrameError."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(_PATIENCE_S)
        one.connect(str(path))
        one.sendall(frame.encode_call(call))
        data = b""
        while chunk := one.recv(1 << 16):
            data += chunk
    return frame.parse_answer(data)


CHECKS: tuple[tuple[str, Check], ...] = (
    ("configuration", _configuration),
    ("kubelet", _kubelet),
    ("pod resources", _pod_resources),
    ("udev", _udev),
    ("run directory", _run_dir),
    ("state directory", _state_dir),
    ("agent", _agent),
)
