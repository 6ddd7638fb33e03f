"""A room that records what the door asks of it, and answers or fails as it was told."""

from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network

from ringbolt.network.attachment import (
    Attach,
    Attached,
    Collected,
    Detach,
    Interface,
    Key,
    PodAddress,
)
from ringbolt.network.settings import Route, Settings


@dataclass
class RecordingNetwork:
    """Every call lands in `calls`; `error` is raised by each of them."""

    error: Exception | None = None
    calls: list[tuple[str, object]] = field(default_factory=list)

    def _record(self, verb: str, value: object) -> None:
        self.calls.append((verb, value))
        if self.error:
            raise self.error

    def add(self, attach: Attach) -> Attached:
        self._record("add", attach)
        return attached(attach.netns_path, attach.ifname)

    def delete(self, detach: Detach) -> None:
        self._record("delete", detach)

    def check(self, attach: Attach, attached: Attached) -> None:
        self._record("check", (attach, attached))

    def collect(self, settings: Settings, valid: frozenset[Key] | None) -> Collected:
        self._record("collect", (settings.name, valid))
        return Collected()

    def status(self, settings: Settings) -> None:
        self._record("status", settings)


def attached(sandbox: str = "/run/netns/a", ifname: str = "eth0") -> Attached:
    """Both families, as the room answers in mode bridge."""
    v4, v6 = ip_interface("10.244.0.5/24"), ip_interface("fd00::5/64")
    return Attached(
        interfaces=(
            Interface("ringbolt0", "0a:58:0a:f4:00:01", 1500),
            Interface("veth01234567", "0a:58:0a:f4:00:02", 1500),
            Interface(ifname, "0a:58:0a:f4:00:05", 1500, sandbox),
        ),
        addresses=(
            PodAddress(v4, v4.network[1], 2),
            PodAddress(v6, v6.network[1], 2),
        ),
        routes=(
            Route(ip_network("0.0.0.0/0"), v4.network[1], mtu=1400),
            Route(ip_network("::/0"), v6.network[1]),
        ),
    )
