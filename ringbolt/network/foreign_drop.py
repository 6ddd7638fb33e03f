"""Packet filters of others that drop what the node forwards: found, named, opened if asked.

An accept of ours cannot overrule them, and without one there pods reach nothing beyond the node.
"""

from contextlib import suppress
from pathlib import Path

from ringbolt.network import ruleset
from ringbolt.network.errors import NotAvailableError
from ringbolt.network.firewall import Firewall
from ringbolt.network.settings import Mode, Settings

_LEGACY_TABLES = Path("/proc/thread-self/net/ip_tables_names")


def find_drop(firewall: Firewall, settings: Settings) -> str:
    """What is dropped and what to do, "" where nothing is or the network is not forwarded.

    Raises OSError.
    """
    for chain in _drops(firewall, settings):
        links = ruleset.links_of(settings)
        if not firewall.mentions(chain, links, settings):
            return (
                f"the packet filter's chain {chain} drops what the node forwards, and so what "
                f"pods send and get: accept {links} there, or set openForward"
            )
    return ""


def open_forward(firewall: Firewall, settings: Settings) -> list[str]:
    """Accept the network's pods in each such chain, if the settings say so; what was done."""
    if not settings.open_forward:
        return []
    links = ruleset.links_of(settings)
    return [
        f"the packet filter's chain {chain} dropped what the node forwards"
        for chain in _drops(firewall, settings)
        if firewall.accept_in(chain, links)
    ]


def find_legacy(tables: Path = _LEGACY_TABLES) -> str:
    """What cannot be seen from here: a filter of legacy iptables; "" without one."""
    with suppress(OSError):
        if "filter" in tables.read_text(encoding="ascii").split():
            return (
                "legacy iptables filters here too, and whether its FORWARD chain drops what pods"
                " send cannot be seen: iptables-legacy -S FORWARD tells"
            )
    return ""


def _drops(firewall: Firewall, settings: Settings) -> list[str]:
    if settings.mode is Mode.BRIDGE and not settings.gateway:
        return []
    try:
        return firewall.foreign_drops()
    except NotAvailableError:
        # A network that needs no packet filter works without libnftables, by which to see others'.
        if settings.masquerade:
            raise
        return []
