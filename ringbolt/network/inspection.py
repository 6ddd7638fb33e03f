"""Everything that is attached, with all that belongs to it: one look, for people. Changes nothing.

It reads the leases beside whoever serves them, makes no file and no kernel object, and works
without an agent. Nothing here is in a pod's way.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ringbolt.linux.netlink import Socket
from ringbolt.network import settings_record
from ringbolt.network.attachment import Attach
from ringbolt.network.collection import death_of
from ringbolt.network.departed import Departed
from ringbolt.network.drift import with_choices
from ringbolt.network.errors import NetworkError
from ringbolt.network.filter_holdings import filter_holdings
from ringbolt.network.guessing import guess_settings
from ringbolt.network.holdings import Fact, Held, Holding, Kind, Place
from ringbolt.network.leases import Cooling, Lease, Leases
from ringbolt.network.ledger import Ledger, ledger_path
from ringbolt.network.node_holdings import Outside, node_holdings
from ringbolt.network.plan import Plan, plan_attachment, settings_with
from ringbolt.network.pod_holdings import Inside, pod_holdings
from ringbolt.network.record import Record
from ringbolt.network.recorded import addresses_of, attach_of, namespace_lives
from ringbolt.network.settings import Mode, NetworkName, Settings
from ringbolt.network.sight import NodeSight, PodSight, look_at_node, look_into_pod

_NO_DESCRIPTOR = -1
"""A plan is made of the request's values; its namespace is not touched."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was seen, the oldest attachment first. `now` by the clock of the leases."""

    held: tuple[Held, ...] = ()
    cooling: tuple[Cooling, ...] = ()
    departed: tuple[Departed, ...] = ()
    now: float = 0.0
    lacks: tuple[str, ...] = ()


def inspect(run_dir: Path, told: Mapping[NetworkName, Settings]) -> Inspection:
    """Look once. Raises NotAvailableError where the leases cannot be read, OSError.

    Pods are held against the settings that are kept with the leases; against those `told` where
    none are; and where nobody tells them, they are guessed.
    """
    if not ledger_path(run_dir).exists():
        return Inspection()
    with closing(Leases(Ledger(run_dir, read_only=True))) as leases:
        found, cooling, now = leases.all(), leases.cooling(), leases.now()
        departed = leases.departed()
        kept = leases.remembered()
    settings = {**told, **{name: settings_record.from_json(kept[name]) for name in kept}}
    if not found:
        return Inspection((), cooling, departed, now)
    records = [Record.from_json(lease.note) for lease in found]
    filtered = any(record.ports for record in records) or any(
        settings[lease.network].masquerade if lease.network in settings else True for lease in found
    )
    with Socket() as node:
        sight = look_at_node(node, with_filter=filtered)
    held = tuple(
        _inspect(lease, record, sight, settings.get(lease.network), now)
        for lease, record in zip(found, records, strict=True)
    )
    return Inspection(held, cooling, departed, now, sight.lacks)


def _inspect(
    lease: Lease, record: Record, node: NodeSight, known: Settings | None, now: float
) -> Held:
    inside = look_into_pod(lease, record)
    seen = inside if isinstance(inside, PodSight) else None
    settings = settings_with(known, record.given) if known else None
    settings = settings or guess_settings(lease, record, node, seen)
    plan = chosen = _plan(lease, record, node, settings)
    if plan:
        chosen = with_choices(plan, node.links.get(lease.host_name), seen.link if seen else None)
        plan = replace(plan, mac=chosen.mac)
    outside = Outside(lease, record, plan, node)
    holdings = (
        *pod_holdings(Inside(lease, record, chosen, inside), alive=outside.link is not None),
        *node_holdings(outside),
        *filter_holdings(outside, settings, guessed=known is None),
        _lease_holding(lease, record, settings, now),
    )
    death = death_of(lease, dict(node.links), None, now, lives=namespace_lives)
    return Held(lease, record, settings, known is None, now - lease.born, death, holdings)


def _plan(lease: Lease, record: Record, node: NodeSight, settings: Settings) -> Plan | None:
    """What it shall be; None where the network does not hold its address any more."""
    bridge = node.links.get(record.bridge) if record.mode is Mode.BRIDGE else None
    request: Attach = attach_of(settings, lease, record, _NO_DESCRIPTOR)
    try:
        return plan_attachment(request, lease, node.uplink_mtu, bridge.mac if bridge else "")
    except NetworkError:
        return None


def _lease_holding(lease: Lease, record: Record, settings: Settings, now: float) -> Holding:
    facts: dict[str, Fact] = {
        "network": lease.network,
        "addresses": tuple(map(str, addresses_of(lease, record))),
        "delegated": bool(record.given),
        "age": round(now - lease.born),
        "cooldown": round(settings.cool_down_s),
    }
    purpose = "says whose the addresses and host ports are; given back, they cool down"
    return Holding(Kind.LEASE, Place.NODE, str(lease.id), purpose, facts=facts)
