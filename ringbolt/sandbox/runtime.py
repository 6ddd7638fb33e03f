"""The runtime: pods and containers as processes in namespaces of their own.

It does what a CRI runtime does with what the kubelet tells it and decides nothing else: when to
start, restart and stop is `pod_worker`'s.
"""

import contextlib
import itertools
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ringbolt.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUSER, CLONE_NEWUTS
from ringbolt.linux.process import CAPABILITIES, effective_capabilities
from ringbolt.sandbox import container_process
from ringbolt.sandbox.ability import Ability, Means
from ringbolt.sandbox.container_process import ContainerProcess, LogLine, StartError
from ringbolt.sandbox.host_devices import CreateError, Findings, all_devices, find
from ringbolt.sandbox.node import Join
from ringbolt.sandbox.pod import ContainerSpec, Pod, expand
from ringbolt.sandbox.pod_network import PodAddresses, PodNetwork
from ringbolt.sandbox.rootfs import Content, device_rules, plan_rootfs, search_path
from ringbolt.sandbox.run_options import HostMount, RunOptions
from ringbolt.sandbox.volumes import OwnVolumes, volume_mounts

_DEFAULT_CAPABILITIES: frozenset[str] = frozenset(
    {
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
        *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    }
)
"""containerd's default set."""

_HOST_NAME_MAX = 63


def _ignore(_: LogLine) -> None:
    """No one listens."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where containers are made, by which means, and who hears what they write.

    `directory` is ours alone; `cdi_directories` are read at every start, the last one wins.
    Without a `network` a pod has its loopback only, and the host network is this machine's.
    """

    directory: Path
    ability: Ability
    cdi_directories: tuple[Path, ...] = (Path("/etc/cdi"), Path("/var/run/cdi"))
    listener: Callable[[LogLine], None] = _ignore
    network: PodNetwork | None = None
    volume_join: Join = ()
    """The way to where the kubelet's volumes are mounted; none: they are seen here."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @contextlib.asynccontextmanager
    async def pod(
        self, pod: Pod, volumes: Mapping[str, Path] | None = None
    ) -> AsyncGenerator["PodSandbox", None]:
        """The namespaces that the pod's containers share, for as long as the context lasts.

        `volumes` are those that the kubelet has mounted on the node, by their names.

        Raises StartError, NetworkError.
        """
        if self.ability.means is Means.NONE:
            raise StartError(self.ability.lacks[0])
        own = self.directory / f"{pod.uid}-{next(self._numbers)}"
        (own / "root").mkdir(parents=True)
        plan = {
            "kind": "pod",
            "hostname": pod.name.partition(".")[0][:_HOST_NAME_MAX],
            "host_network": pod.host_network,
            "user_namespace": self.ability.means is Means.USER_NAMESPACE,
            "join": self._pod_joins(pod),
        }
        async with contextlib.AsyncExitStack() as undo:
            undo.callback(_remove_tree, own)
            holder = await container_process.start(f"{pod.name} (pod)", plan)
            undo.push_async_callback(holder.kill)
            addresses = await self._attach(pod, holder, undo)
            sandbox = PodSandbox(self, pod, own, holder.pid, addresses, volumes or {})
            undo.push_async_callback(sandbox.close)
            yield sandbox

    def _pod_joins(self, pod: Pod) -> Join:
        """Where a pod's own namespaces are made: on the node, and for the host's network in it."""
        if self.network is None:
            return []
        return self.network.node.join_network if pod.host_network else self.network.node.join_user

    async def _attach(
        self, pod: Pod, holder: ContainerProcess, undo: contextlib.AsyncExitStack
    ) -> PodAddresses:
        if self.network is None:
            return PodAddresses()
        if pod.host_network:
            return PodAddresses(self.network.host_ips, self.network.host_ips)
        addresses = await undo.enter_async_context(self.network.attached(pod, holder.pid))
        # Its processes end before it is detached, as a runtime stops a pod.
        undo.push_async_callback(holder.kill)
        return addresses


@dataclass(frozen=True, slots=True)
class PodSandbox:
    """A running pod. `pid` holds its namespaces; `addresses` is empty without a network."""

    runtime: Runtime
    pod: Pod
    directory: Path
    pid: int
    addresses: PodAddresses
    volumes: Mapping[str, Path]
    _started: list[ContainerProcess] = field(default_factory=list[ContainerProcess])

    async def start(
        self, spec: ContainerSpec, options: RunOptions, *, terminal: int | None = None
    ) -> ContainerProcess:
        """Create and start a container with exactly what `options` say.

        Raises CreateError (a device is missing, ...) and StartError (no such program, ...).
        """
        plan = self._plan(spec, options)
        name = f"{self.pod.name}/{spec.name}"
        container = await container_process.start(name, plan, terminal=terminal)
        self._started.append(container)
        container.follow(self.runtime.listener)
        return container

    async def close(self) -> None:
        """Kill what still runs."""
        for container in self._started:
            await container.kill()

    def _plan(self, spec: ContainerSpec, options: RunOptions) -> dict[str, Any]:
        ability, security = self.runtime.ability, spec.security
        bound = ability.means is Means.USER_NAMESPACE
        user, group = security.user or 0, security.group or 0
        if bound and (user, group) != (0, 0):
            raise CreateError(
                f"runAsUser {user}, runAsGroup {group}: without root a container has one user, 0; "
                "leave both out or run the sandbox as root"
            )
        found = find(options, self.runtime.cdi_directories, user=user, group=group)
        if security.privileged:
            found = replace(found, nodes=(*all_devices(), *found.nodes))
        own = OwnVolumes(self.directory / "volumes", self.volumes)
        mounts = (*found.mounts, *volume_mounts(self.pod, spec, own))
        content = Content(found.nodes, _present(mounts), bound, security.privileged)
        device_group = None if security.privileged else ability.device_group
        env = self._env(spec, found)
        return {
            "kind": "container",
            "join": self._joins(),
            "root": str(self.directory / "root"),
            "steps": plan_rootfs(content),
            "device_group": device_group and self._device_group(device_group, spec.name),
            "device_rules": device_rules(found.nodes),
            "argv": self._argv(spec, env),
            "env": env,
            "working_dir": spec.working_dir,
            "uid": user,
            "gid": group,
            "groups": (*security.supplemental_groups, *found.gids),
            "single_user": bound,
            "capabilities": sorted(_capabilities(spec, ability)),
            "no_new_privileges": not security.escalation,
        }

    def _joins(self) -> Join:
        """The pod's namespaces; the owner of a network has to be entered before the network."""
        own = f"/proc/{self.pid}/ns"
        network = self.runtime.network
        user = (
            [(f"{own}/user", CLONE_NEWUSER)]
            if self.runtime.ability.means is Means.USER_NAMESPACE
            else []
        )
        if self.volumes:
            user = [*self.runtime.volume_join, *user]
        shared = [(f"{own}/ipc", CLONE_NEWIPC), (f"{own}/uts", CLONE_NEWUTS)]
        if not self.pod.host_network:
            return [*user, *shared, (f"{own}/net", CLONE_NEWNET)]
        return [*(network.node.join_network if network else ()), *user, *shared]

    def _device_group(self, parent: str, name: str) -> str:
        return f"{parent}/ringbolt-{os.getpid()}-{self.directory.name}-{name}"

    def _env(self, spec: ContainerSpec, found: Findings) -> dict[str, str]:
        """The environment, as the kubelet orders it: the plugins' answers, then the pod's own."""
        env = {"PATH": search_path(), "HOME": "/root", "HOSTNAME": self.pod.name, **dict(found.env)}
        fields = self._fields()
        env |= {name: fields[path] for name, path in spec.env_fields.items()}
        for name, value in spec.env.items():
            env[name] = expand(value, env)
        return env

    def _fields(self) -> Mapping[str, str]:
        """What variables may take from the pod; empty where there is no network."""
        pod, addresses = self.pod, self.addresses
        return {
            "metadata.name": pod.name,
            "metadata.namespace": pod.namespace,
            "metadata.uid": pod.uid,
            "status.podIP": next(iter(addresses.ips), ""),
            "status.podIPs": ",".join(addresses.ips),
            "status.hostIP": next(iter(addresses.host_ips), ""),
            "status.hostIPs": ",".join(addresses.host_ips),
        }

    def _argv(self, spec: ContainerSpec, env: Mapping[str, str]) -> Sequence[str]:
        if words := spec.argv(env):
            return words
        raise CreateError(
            f'container "{spec.name}" has no command: the sandbox has no images whose own it could '
            "take; give it `command`"
        )


def _capabilities(spec: ContainerSpec, ability: Ability) -> frozenset[str]:
    """The default set with the pod's changes; never more than the sandbox itself has."""
    security = spec.security
    asked = {name.removeprefix("CAP_") for name in security.add_capabilities}
    if unknown := asked - {*CAPABILITIES, "ALL"}:
        raise CreateError(f'unknown capability to add "{min(unknown)}"')
    every: frozenset[str] = frozenset(CAPABILITIES)
    keep = every if security.privileged else _DEFAULT_CAPABILITIES
    dropped = {name.removeprefix("CAP_") for name in security.drop_capabilities}
    keep = keep - (every if "ALL" in dropped else dropped)
    keep |= every if "ALL" in asked else asked
    if ability.device_group is None and not security.privileged:
        keep -= {"MKNOD"}
    return keep & effective_capabilities() if ability.means is Means.ROOT else keep


def _present(mounts: Sequence[HostMount]) -> tuple[HostMount, ...]:
    """The mounts with their symlinks followed; what is missing is made, as containerd does it."""
    for mount in mounts:
        host = Path(mount.host_path)
        if not host.exists():
            try:
                host.mkdir(parents=True)
            except OSError as error:
                reason = (error.strerror or "").lower()
                raise CreateError(f'failed to mkdir "{host}": {reason}') from error
    return tuple(replace(mount, host_path=os.path.realpath(mount.host_path)) for mount in mounts)


def _remove_tree(directory: Path) -> None:
    """Remove what is ours below `directory`, with what containers left in empty volumes."""
    for parent, directories, files in os.walk(directory, topdown=False):
        for name in files:
            Path(parent, name).unlink()
        for name in directories:
            path = Path(parent, name)
            path.unlink() if path.is_symlink() else path.rmdir()
    directory.rmdir()
