"""A pod's attachments through plugins that are exec'd: chained ADD, DEL in reverse, STATUS.

The runtime's half of the contract, call by call as libcni makes it, with its cache of results. What
a pod asks for is `cni_args`' business, where the program runs the business of `Exec`. Source:
containernetworking libcni api.go, pkg/invoke.
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from ringbolt.sandbox.cni_conf import NetworkConf, PluginConf, is_at_least, load_first

_CHAINS_KNOW_THEIR_RESULT = "0.4.0"
_STATUS_SINCE = "1.1.0"


class CniError(Exception):
    """A plugin refused; `code` is the contract's, 999 where it said none."""

    def __init__(self, message: str, code: int = 999) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Ended:
    """How an exec'd plugin ended; `took_s` from its start to its end."""

    code: int
    stdout: bytes
    stderr: bytes
    took_s: float


class Exec(Protocol):
    """Runs a program on the node."""

    async def __call__(self, program: Path, variables: Mapping[str, str], stdin: bytes) -> Ended:
        """Run it to its end with `variables` over the environment."""
        ...


@dataclass(frozen=True, slots=True)
class Attachment:
    """A pod's interface: what libcni calls RuntimeConf. `netns` "" where it is gone."""

    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: str = ""
    capability_args: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Cni:
    """Where networks and plugins are sought and results are kept, and how plugins are run.

    Every call reads the configuration that is there now, as a runtime that watches it does.
    """

    conf_dir: Path
    bin_dirs: Sequence[Path]
    cache_dir: Path
    run: Exec

    async def add(self, pod: Attachment) -> tuple[Mapping[str, Any], float]:
        """Attach; the last plugin's result, and the seconds that plugins took.

        Raises ConfError, CniError.
        """
        network = load_first(self.conf_dir)
        result: Mapping[str, Any] | None = None
        took_s = 0.0
        for plugin in network.plugins:
            ended = await self._exec("ADD", plugin, pod, _conf(network, plugin, pod, result))
            result = _result(ended.stdout, plugin.type)
            took_s += ended.took_s
        assert result is not None
        self._remember(network, pod, result)
        return result, took_s

    async def delete(self, pod: Attachment) -> float:
        """Detach, by the configuration of now; the seconds that plugins took.

        Raises ConfError, CniError of the first plugin that refuses: then the rest is not asked.
        """
        network = load_first(self.conf_dir)
        known = is_at_least(network.version, _CHAINS_KNOW_THEIR_RESULT)
        result = self._recall(network, pod) if known else None
        took_s = 0.0
        for plugin in reversed(network.plugins):
            ended = await self._exec("DEL", plugin, pod, _conf(network, plugin, pod, result))
            took_s += ended.took_s
        self._cached(network, pod).unlink(missing_ok=True)
        return took_s

    async def status(self) -> None:
        """Return if pods could be attached now; plugins are asked from 1.1.0 on.

        Raises ConfError, CniError.
        """
        network = load_first(self.conf_dir)
        if not is_at_least(network.version, _STATUS_SINCE):
            return
        nobody = Attachment()
        for plugin in network.plugins:
            await self._exec("STATUS", plugin, nobody, _conf(network, plugin, nobody, None))

    async def _exec(self, command: str, plugin: PluginConf, pod: Attachment, stdin: bytes) -> Ended:
        variables = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod.container_id,
            "CNI_NETNS": pod.netns,
            "CNI_ARGS": pod.args,
            "CNI_IFNAME": pod.ifname,
            "CNI_PATH": os.pathsep.join(map(str, self.bin_dirs)),
        }
        ended = await self.run(self._program(plugin.type), variables, stdin)
        if ended.code:
            raise _refusal(plugin.type, command, ended)
        return ended

    def _program(self, kind: str) -> Path:
        places = [folder / kind for folder in self.bin_dirs]
        if "/" not in kind and (found := next((p for p in places if p.is_file()), None)):
            return found
        looked = ", ".join(map(str, self.bin_dirs))
        raise CniError(f'failed to find plugin "{kind}" in path [{looked}]')

    def _cached(self, network: NetworkConf, pod: Attachment) -> Path:
        return self.cache_dir / "results" / f"{network.name}-{pod.container_id}-{pod.ifname}"

    def _remember(self, network: NetworkConf, pod: Attachment, result: Mapping[str, Any]) -> None:
        """What a later DEL is told; the shape is libcni's cniCacheV1."""
        whole = {
            "kind": "cniCacheV1",
            "containerId": pod.container_id,
            "config": base64.b64encode(network.source).decode("ascii"),
            "ifName": pod.ifname,
            "networkName": network.name,
            "netns": pod.netns,
            "cniArgs": [pair.split("=", 1) for pair in pod.args.split(";") if pair],
            "capabilityArgs": pod.capability_args or {},
            "result": result,
        }
        path = self._cached(network, pod)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(json.dumps(whole), encoding="utf-8")

    def _recall(self, network: NetworkConf, pod: Attachment) -> Mapping[str, Any] | None:
        """The remembered result; a broken cache must not keep a pod from being detached."""
        with suppress(OSError, ValueError):
            whole = json.loads(self._cached(network, pod).read_bytes())
            if isinstance(whole, dict):
                result = cast("dict[str, Any]", whole).get("result")
                return cast("Mapping[str, Any]", result) if isinstance(result, dict) else None
        return None


def _conf(
    network: NetworkConf, plugin: PluginConf, pod: Attachment, result: Mapping[str, Any] | None
) -> bytes:
    """A plugin's standard input; `capabilities` stays in it, as libcni leaves it there."""
    offered = pod.capability_args or {}
    given = {name: offered[name] for name in sorted(plugin.capabilities & offered.keys())}
    whole = {
        **plugin.wire,
        "name": network.name,
        "cniVersion": network.version,
        **({"prevResult": result} if result is not None else {}),
        **({"runtimeConfig": given} if given else {}),
    }
    return json.dumps(whole).encode()


def _result(stdout: bytes, kind: str) -> Mapping[str, Any]:
    try:
        found = json.loads(stdout)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CniError(f"plugin {kind} answered no result: {stdout[:200]!r}")
    return cast("Mapping[str, Any]", found)


def _refusal(kind: str, command: str, ended: Ended) -> CniError:
    """The plugin's own words where it printed an error, else what there is (invoke pluginErr)."""
    where = f'plugin type="{kind}" failed ({command.lower()})'
    said: object = None
    with suppress(ValueError):
        said = json.loads(ended.stdout)
    if isinstance(said, dict) and "msg" in said:
        wire = cast("dict[str, Any]", said)
        words = "; ".join(str(wire[key]) for key in ("msg", "details") if wire.get(key))
        code = wire.get("code")
        return CniError(f"{where}: {words}", code if isinstance(code, int) else 999)
    rest = (ended.stderr or ended.stdout).decode(errors="replace").strip()
    return CniError(f"{where}: netplugin failed with no error message: {rest!r}")
