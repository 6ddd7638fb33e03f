"""Gives the sandbox's node its plugin and network by `ringbolt install`, as on any node.

What this machine lacks for it is said in a sentence each, and done without.
"""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ringbolt.linux import nft
from ringbolt.sandbox.agent_process import AgentError, environment, ringbolt

_V6 = Path("/proc/sys/net/ipv6")


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the runtime finds networks and plugins, and what had to be left out."""

    conf_dir: Path
    bin_dir: Path
    volume_dir: Path
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """An agent's configuration whose network this machine can serve, and what that leaves out.

    `filters`: with masquerade, and host ports are possible.
    """

    text: str
    lacks: tuple[str, ...]
    filters: bool


def servable(config: Mapping[str, Any]) -> NetworkConfig:
    """`config`, its network without what the kernel or this machine's libraries do not have."""
    network = dict(config["network"])
    lacks: list[str] = []
    reason = _why_no_nftables()
    if reason:
        network["masquerade"] = False
        lacks.append(f"masquerade and host ports: {reason}")
    if not _V6.exists():
        kept = [sets for sets in network["ranges"] if ":" not in sets[0]["subnet"]]
        network["ranges"] = kept
        lacks.append("IPv6: this kernel has none")
    text = yaml.safe_dump({**config, "network": network}, sort_keys=False)
    return NetworkConfig(text, tuple(lacks), bool(network.get("masquerade")))


async def install(config: Path, directory: Path) -> Installed:
    """Run `ringbolt install` into `directory`, by the configuration. Raises AgentError."""
    bin_dir, conf_dir, volume_dir = (directory / name for name in ("bin", "net.d", "volume"))
    own = (
        *("install", "--config", str(config)),
        *("--cni-bin-dir", str(bin_dir), "--cni-conf-dir", str(conf_dir)),
        *("--state-dir", str(directory / "installed"), "--flexvolume-dir", str(volume_dir)),
    )
    try:
        await ringbolt(*own)
    except AgentError as error:
        await ringbolt(*own, "--launcher", str(_interpreted(directory)))
        last = str(error).splitlines()[-1]
        lack = f"the launcher, for which `python -m cni` stands in ({last})"
        return Installed(conf_dir, bin_dir, volume_dir, (lack,))
    return Installed(conf_dir, bin_dir, volume_dir, ())


def _interpreted(directory: Path) -> Path:
    """A program that is `python -m cni`, or of that name flexvolume, in the launcher's place."""
    words = (sys.executable, "-m")
    directory.mkdir(mode=0o755, exist_ok=True)
    path = directory / "python-cni"
    code = shlex.quote(environment()["PYTHONPATH"])
    text = f"""#!/bin/sh
case "$0" in */volume) door=flexvolume ;; *) door=cni ;; esac
PYTHONPATH={code} exec {shlex.join(words)} "$door" "$@"
"""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def _why_no_nftables() -> str:
    try:
        nft.load()
    except OSError as error:
        return error.strerror or str(error)
    return ""
