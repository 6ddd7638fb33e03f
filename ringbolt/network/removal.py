"""Takes away what networks have left on a node that has no more use for them.

Their bridges and our table of the packet filter; never while a pod is attached. What the node was
set to for them (forwarding) stays: others may rely on it by now.
"""

import errno
from contextlib import closing
from pathlib import Path

from ringbolt.linux import link
from ringbolt.linux.netlink import Socket
from ringbolt.linux.nft import Nftables, NftError
from ringbolt.network import ruleset, settings_record
from ringbolt.network.leases import Leases
from ringbolt.network.ledger import Ledger, ledger_path
from ringbolt.network.plan import mac_of_node_end
from ringbolt.network.settings import Mode, Settings


def remove_networks(run_dir: Path) -> tuple[str, ...]:
    """Of every network that had pods since boot; what was removed, in words.

    Bridges that are not of our making, or have ports of others, stay. Raises NotAvailableError
    where the leases cannot be read, OSError.
    """
    known = _unused(run_dir)
    if not known:
        return ()
    names = sorted({one.bridge for one in known if one.mode is Mode.BRIDGE})
    with Socket() as node:
        removed = [f"the bridge {name}" for name in names if _remove_bridge(node, name)]
    return (*removed, *_remove_table())


def _unused(run_dir: Path) -> tuple[Settings, ...]:
    if not ledger_path(run_dir).exists():
        return ()
    with closing(Leases(Ledger(run_dir, read_only=True))) as leases:
        texts = () if leases.all() else leases.remembered(attached=False).values()
    return tuple(map(settings_record.from_json, texts))


def _remove_bridge(node: Socket, name: str) -> bool:
    found = link.find(node, name)
    if found is None or found.kind != "bridge" or found.mac != mac_of_node_end(name):
        return False
    if any(one.master == found.index for one in link.list_links(node)):
        return False
    node.request([link.delete_link(found.index).forgiving(errno.ENODEV)])
    return True


def _remove_table() -> tuple[str, ...]:
    try:
        with Nftables() as nft:
            nft.run(f"delete table {ruleset.TABLE}\n")
    except FileNotFoundError:  # without libnftables there never was one; or there is none
        return ()
    except NftError as error:
        if error.errno != errno.ENOENT:
            raise
        return ()
    return (f"the packet filter's table {ruleset.TABLE}",)
