"""What a room is opened with, kept in the run directory for processes that serve beside the agent.

They have no configuration of their own: what the agent's says is what is allowed. Written aside and
renamed; dies with the reboot, so without an agent nothing new is mounted.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringbolt.volumes.errors import NotAvailableError
from ringbolt.volumes.helper import Helper
from ringbolt.volumes.paths import Places
from ringbolt.volumes.policy import Policy, Rule
from ringbolt.volumes.spec import Kind

_NAME = "volumes/setting.json"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where everything lies, and who may have what.

    `subvolumes` is a directory on a btrfs, None is one in the state directory.
    """

    places: Places
    policy: Policy
    subvolumes: str | None = None


def write_setting(setting: Setting) -> None:
    """Keep it, in place of what was kept. Raises OSError."""
    places, policy = setting.places, setting.policy
    text = {
        "state_dir": str(places.state_dir),
        "kubelet_dir": str(places.kubelet_dir),
        "subvolumes": setting.subvolumes,
        "roots": policy.roots,
        "rules": [
            {
                "kinds": sorted(kind.value for kind in rule.kinds),
                "namespaces": rule.namespaces,
                "max_size": rule.max_size,
                "options": rule.options,
                "readonly": rule.readonly,
                "trusted": rule.trusted,
                "devices": rule.devices,
                "roots": rule.roots,
            }
            for rule in policy.rules
        ],
        "helpers": [
            {
                "name": one.name,
                "argv": one.argv,
                "sources": one.sources,
                "stdin": one.stdin,
                "foreground": one.foreground,
            }
            for one in policy.helpers
        ],
    }
    path = places.run_dir / _NAME
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(text), encoding="utf-8")
    aside.chmod(0o600)
    aside.rename(path)


def read_setting(run_dir: Path) -> Setting:
    """What an agent kept there. Raises NotAvailableError: none did, or what it wrote is broken."""
    path = run_dir / _NAME
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        places = Places(run_dir, Path(found["state_dir"]), Path(found["kubelet_dir"]))
        rules = tuple(_to_rule(one) for one in found["rules"])
        helpers = tuple(_to_helper(one) for one in found["helpers"])
        policy = Policy(tuple(found["roots"]), rules, helpers)
        return Setting(places, policy, found["subvolumes"])
    except FileNotFoundError:
        raise NotAvailableError(
            f"{path} is missing: since this node started no agent has run with this directory"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise NotAvailableError(f"{path} cannot be read ({error}): restart the agent") from None


def _to_rule(found: dict[str, Any]) -> Rule:
    return Rule(
        frozenset(Kind(kind) for kind in found["kinds"]),
        tuple(found["namespaces"]),
        found["max_size"],
        tuple(found["options"]),
        bool(found["readonly"]),
        bool(found["trusted"]),
        tuple(found["devices"]),
        tuple(found["roots"]),
    )


def _to_helper(found: dict[str, Any]) -> Helper:
    return Helper(
        found["name"],
        tuple(found["argv"]),
        tuple(found["sources"]),
        found["stdin"],
        bool(found["foreground"]),
    )
