"""Attachments as rows for programs: the stable shape of what `ringbolt pods -o json` prints."""

from typing import Any

from ringbolt.network.attachment import UNLIMITED, Bandwidth, PortMapping
from ringbolt.network.holdings import Held, Holding
from ringbolt.network.recorded import addresses_of
from ringbolt.network.settings import Mode, Settings

Row = dict[str, Any]  # what json.dumps takes


def attachment(held: Held) -> Row:
    """One interface of a pod."""
    lease, record = held.lease, held.record
    return {
        "network": str(lease.network),
        "namespace": record.pod.namespace,
        "pod": record.pod.name,
        "uid": record.pod.uid,
        "containerId": str(lease.key.container_id),
        "interface": str(lease.key.ifname),
        "netns": record.netns_path,
        "addresses": [str(one) for one in addresses_of(lease, record)],
        "hostInterface": lease.host_name,
        "mode": record.mode.value,
        "bridge": record.bridge if record.mode is Mode.BRIDGE else None,
        "ageSeconds": round(held.age_s),
        "hostPorts": [_port(one) for one in record.ports],
        "bandwidth": _bandwidth(record.bandwidth),
        "state": held.health.value,
        "reasons": [held.death] if held.death else list(held.faults),
    }


def explained(held: Held) -> Row:
    """The same, with how it was asked for and every kernel object of it."""
    return attachment(held) | {
        "settings": None if held.guessed else _settings(held.settings),
        "objects": [_object(one) for one in held.holdings],
    }


def _object(one: Holding) -> Row:
    return {
        "kind": one.kind.value,
        "place": one.place.value,
        "name": one.name,
        "purpose": one.purpose,
        "state": one.state.value,
        "fault": one.fault,
        "facts": {
            key: list(fact) if isinstance(fact, tuple) else fact for key, fact in one.facts.items()
        },
    }


def _port(one: PortMapping) -> Row:
    return {
        "hostPort": one.host_port,
        "containerPort": one.container_port,
        "protocol": one.protocol.value,
        "hostIP": str(one.host_ip) if one.host_ip else None,
        "count": one.count,
    }


def _bandwidth(limits: Bandwidth) -> Row | None:
    if limits == UNLIMITED:
        return None
    return {
        "ingressRate": limits.ingress_rate,
        "ingressBurst": limits.ingress_burst,
        "egressRate": limits.egress_rate,
        "egressBurst": limits.egress_burst,
    }


def _settings(settings: Settings) -> Row:
    return {
        "subnets": [str(one.subnet) for ranges in settings.ranges for one in ranges],
        "gateway": settings.gateway,
        "defaultRoute": settings.default_route,
        "routes": [str(one.destination) for one in settings.routes],
        "masquerade": settings.masquerade,
        "masqueradeExempt": [str(one) for one in settings.masquerade_exempt],
        "mtu": settings.mtu,
        "hairpin": settings.hairpin,
        "isolated": settings.isolated,
        "coolDownSeconds": settings.cool_down_s,
    }
