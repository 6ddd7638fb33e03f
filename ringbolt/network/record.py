"""What is kept with a lease to take everything back, and to make it again after it was lost. Pure.

One JSON text, written with the lease in one transaction, so no kernel object is ever without it.
"""

import ipaddress
import json
from dataclasses import dataclass
from typing import Any, Self

from ringbolt.network.attachment import (
    UNLIMITED,
    Attach,
    Bandwidth,
    Pod,
    PodAddress,
    PortMapping,
    Protocol,
)
from ringbolt.network.settings import IpAddress, Mode

_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Record:
    """Of one attachment. `given` holds addresses that another address management decided."""

    pod: Pod
    netns_path: str
    mode: Mode
    bridge: str
    ports: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth = UNLIMITED
    given: tuple[PodAddress, ...] = ()
    mac: str | None = None

    @classmethod
    def of(cls, attach: Attach) -> Self:
        """What is worth keeping of a request."""
        return cls(
            attach.pod,
            attach.netns_path,
            attach.settings.mode,
            attach.settings.bridge,
            attach.port_mappings,
            attach.bandwidth,
            attach.given.addresses if attach.given else (),
            attach.mac,
        )

    def to_json(self) -> str:
        """The text of it; empty parts are left out."""
        parts: dict[str, Any] = {
            "pod": [self.pod.namespace, self.pod.name, self.pod.uid],
            "netns": self.netns_path,
            "mode": self.mode.value,
            "bridge": self.bridge,
        }
        if self.ports:
            parts["ports"] = [_of_port(one) for one in self.ports]
        if self.bandwidth != UNLIMITED:
            limits = self.bandwidth
            parts["bandwidth"] = [
                limits.ingress_rate,
                limits.ingress_burst,
                limits.egress_rate,
                limits.egress_burst,
            ]
        if self.given:
            parts["given"] = [[str(one.address), _text(one.gateway)] for one in self.given]
        if self.mac:
            parts["mac"] = self.mac
        return _ENCODER.encode(parts)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote. Raises ValueError where it is not that: another agent's."""
        try:
            return cls._of_parts(json.loads(text))
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no record of an attachment: {error!r}") from error

    @classmethod
    def _of_parts(cls, parts: dict[str, Any]) -> Self:
        return cls(
            Pod(*parts["pod"]),
            parts["netns"],
            Mode(parts["mode"]),
            parts["bridge"],
            tuple(_to_port(*one) for one in parts.get("ports", ())),
            Bandwidth(*parts.get("bandwidth", ())),
            tuple(
                PodAddress(ipaddress.ip_interface(address), _address(gateway))
                for address, gateway in parts.get("given", ())
            ),
            parts.get("mac"),
        )


def _of_port(one: PortMapping) -> list[str | int]:
    return [
        one.host_port,
        one.container_port,
        one.protocol.value,
        _text(one.host_ip),
        one.count,
    ]


def _to_port(host: int, container: int, protocol: str, host_ip: str, count: int) -> PortMapping:
    return PortMapping(host, container, Protocol(protocol), _address(host_ip), count)


def _text(address: IpAddress | None) -> str:
    return "" if address is None else str(address)


def _address(text: str) -> IpAddress | None:
    return ipaddress.ip_address(text) if text else None
