"""What `ringbolt explain pod` says: every kernel object of a pod, what it is for, what is amiss.

Also what is said where nothing goes by that name: names like it, and addresses that were given
back a moment ago.
"""

import difflib
import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from daemon.pods_command import age, bandwidth, port
from daemon.pods_report import Row, attachment, explained
from ringbolt.network.departed import Departed
from ringbolt.network.flows import flow_holdings
from ringbolt.network.holdings import Held, State
from ringbolt.network.inspection import Inspection

_SHORTEST_ID = 4
_CLOSE = 3


def find(found: Inspection, which: str) -> list[Held]:
    """The attachments that go by this name; a container id may be shortened, as people do."""
    exact = [one for one in found.held if which in names(one)]
    if exact or len(which) < _SHORTEST_ID:
        return exact
    return [one for one in found.held if one.lease.key.container_id.startswith(which)]


def names(held: Held) -> frozenset[str]:
    """All that a pod may be called."""
    row = attachment(held)
    told = (row["pod"], f"{row['namespace']}/{row['pod']}", row["uid"])
    known = (row["containerId"], row["hostInterface"], row["netns"], *row["addresses"])
    return frozenset(filter(None, (*(told if row["pod"] else ()), *known)))


def explain(held: Held) -> Row:
    """The pod for programs, its tracked flows counted now."""
    whole = replace(held, holdings=(*held.holdings, *flow_holdings(held)))
    return explained(whole)


def describe(row: Row) -> Iterator[str]:
    """The same for people, line by line."""
    pod = "/".join(filter(None, (row["namespace"], row["pod"]))) or row["containerId"]
    yield f"{pod}: {row['state']}"
    yield from (f"  amiss: {reason}" for reason in row["reasons"])
    yield f"  container: {row['containerId']}"
    if row["uid"]:
        yield f"  uid: {row['uid']}"
    bridge = f", bridge {row['bridge']}" if row["bridge"] else ""
    yield f"  network: {row['network']}, mode {row['mode']}{bridge}, interface {row['interface']}"
    yield f"  attached: {age(row['ageSeconds'])} ago"
    yield from _asked(row)
    for place, title in (("pod", "in the pod"), ("node", "on the node")):
        yield f"  {title}:"
        for one in row["objects"]:
            if one["place"] == place:
                yield from _object(one)


def _asked(row: Row) -> Iterator[str]:
    if row["hostPorts"]:
        yield f"  host ports: {' '.join(map(port, row['hostPorts']))}"
    if row["bandwidth"]:
        yield f"  bandwidth: {bandwidth(row['bandwidth'])} bit/s"
    settings = row["settings"]
    if settings is None:
        yield "  settings: not known here; what was asked of the network is read off the kernel"
        return
    words = [key for key in ("masquerade", "hairpin", "isolated") if settings[key]]
    words += [f"mtu {settings['mtu']}"] if settings["mtu"] else []
    yield f"  settings: {' '.join([*settings['subnets'], *words])}"


def _object(one: Row) -> Iterator[str]:
    mark = "" if one["state"] == State.THERE.value else f" ({one['state']})"
    yield f"    {one['kind']} {one['name']}{mark}: {one['purpose']}"
    facts = ", ".join(f"{key} {_fact(value)}" for key, value in one["facts"].items())
    if facts:
        yield f"      {facts}"
    if one["fault"]:
        yield f"      amiss: {one['fault']}"


def _fact(value: str | int | list[str]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(value) or "none"
    return str(value)


def describe_unknown(found: Inspection, which: str) -> Iterator[str]:
    """What is known instead."""
    yield f"{which}: no such pod, container or address; `ringbolt pods` lists them"
    for one in found.cooling:
        if _is_address(which, one.address):
            left = max(1, round(one.until - found.now))
            yield (
                f"  {one.address} of {one.network} was given back a moment ago and cools down: "
                f"nobody has it, and nobody is given it for {left} s unless all others are taken"
            )
    for gone in found.departed:
        if which in _names_of(gone):
            pod = "/".join(filter(None, (gone.pod.namespace, gone.pod.name)))
            yield (
                f"  {pod or 'a pod'} (container {gone.key.container_id}, "
                f"{' '.join(gone.addresses)}) went {age(round(found.now - gone.gone))} ago: "
                f"{gone.why}"
            )
    known = sorted({name for held in found.held for name in names(held)})
    if close := difflib.get_close_matches(which, known, n=_CLOSE):
        yield f"  did you mean {' or '.join(close)}?"


def _names_of(one: Departed) -> frozenset[str]:
    pod = one.pod
    told = (pod.name, f"{pod.namespace}/{pod.name}", pod.uid) if pod.name else ()
    return frozenset((*told, one.key.container_id, one.host_name, *one.addresses))


def _is_address(which: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return ipaddress.ip_address(which) == address
    except ValueError:
        return False
