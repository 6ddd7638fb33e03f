"""A pod's network as the runtime gives it: a namespace kept at a path, CNI ADD, at the end CNI DEL.

What ends last is what a plugin needs to detach: as in containerd, the namespace outlives the pod's
processes, and DEL comes after every ADD, failed ones too.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Any

from ringbolt.sandbox.cni_args import BandwidthError, capability_args, cni_args
from ringbolt.sandbox.cni_conf import ConfError
from ringbolt.sandbox.cni_exec import Attachment, Cni, CniError
from ringbolt.sandbox.node import Node, NodeError
from ringbolt.sandbox.pod import Pod

_IFNAME = "eth0"
_ASKED_AGAIN_S = 0.1


class NetworkError(Exception):
    """The pod has no network, or could not be detached; the message is a runtime's."""


@dataclass(frozen=True, slots=True)
class PodAddresses:
    """`ips`: the pod's, the first is `status.podIP`; `added_s`: what the plugins took for them."""

    ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    added_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """Networks of the pods on one node. `deleted` collects what each DEL took, in seconds."""

    node: Node
    cni: Cni
    deleted: list[float] = field(default_factory=list[float])

    async def wait_ready(self, patience_s: float) -> None:
        """Return once plugins say that pods can be attached. Raises NetworkError with why not."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return await self.cni.status()
            except (ConfError, CniError) as error:
                if time.monotonic() > deadline:
                    raise NetworkError(
                        "NetworkReady=false reason:NetworkPluginNotReady message:Network plugin "
                        f"returns error: {error}"
                    ) from error
            await asyncio.sleep(_ASKED_AGAIN_S)

    @contextlib.asynccontextmanager
    async def attached(self, pod: Pod, pid: int) -> AsyncGenerator[PodAddresses]:
        """The pod whose namespaces `pid` holds has its network while the context lasts.

        Raises NetworkError.
        """
        container_id = uuid.uuid4().hex * 2
        try:
            path = await self.node.keep(pid, f"cni-{uuid.uuid4()}")
            try:
                args, capabilities = cni_args(pod, container_id), capability_args(pod)
                wanted = Attachment(container_id, str(path), _IFNAME, args, capabilities)
                async with self._attached(wanted) as addresses:
                    yield addresses
            finally:
                await self.node.release(path)
        except (BandwidthError, ConfError, CniError, NodeError) as error:
            raise NetworkError(f'network of sandbox "{container_id[:12]}": {error}') from error

    @contextlib.asynccontextmanager
    async def _attached(self, wanted: Attachment) -> AsyncGenerator[PodAddresses]:
        try:
            result, took_s = await self.cni.add(wanted)
            addresses = PodAddresses(pod_ips(result), self.host_ips, took_s)
        except BaseException:
            # What a failed ADD left is the plugin's to know; that DEL fails too adds nothing.
            with contextlib.suppress(ConfError, CniError):
                await self.cni.delete(wanted)
            raise
        try:
            yield addresses
        finally:
            self.deleted.append(await self.cni.delete(wanted))

    @property
    def host_ips(self) -> tuple[str, ...]:
        """The node's own addresses."""
        return tuple(str(one.ip) for one in self.node.addresses)


def pod_ips(result: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses of eth0 in a result, IPv4 first as `ip_pref` has it. Raises CniError."""
    interfaces: list[dict[str, Any]] = result.get("interfaces") or []
    ips: list[dict[str, Any]] = result.get("ips") or []
    try:
        own = [
            ip_interface(one["address"]).ip
            for one in ips
            if interfaces[one["interface"]]["name"] == _IFNAME
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CniError(f"invalid result: {error!r}") from error
    if not own:
        raise CniError(f"failed to find network info for sandbox: no address of {_IFNAME}")
    return tuple(str(one) for one in sorted(own, key=lambda one: one.version))
