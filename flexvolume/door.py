"""The door: one call of a kubelet in, one JSON document out; everything in between is the room's.

Argument orders and who makes which call when: kubernetes pkg/volume/flexvolume. Since `init` says
`attach: false`, a kubelet mounts by `mount` alone and no controller takes part; what only those
would do is not supported, for ever. Must not enter: policy, and any call to the kernel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flexvolume.answer import CAPABILITIES, Outcome, encode, message_of, outcome_of
from flexvolume.call import Call, Reply
from flexvolume.grammar import to_volume
from flexvolume.options import Options, parse_options
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.outcome import Created, Published, Unpublished
from ringbolt.volumes.volume import NO_SECRETS, Publication, Secrets, Tenant, Volume

NEVER_SUPPORTED = frozenset(
    {
        *("getvolumename", "attach", "waitforattach", "isattached", "detach"),
        *("mountdevice", "unmountdevice", "expandvolume"),
    }
)
"""`getvolumename`: its answer is not used, a failure would fail the volume. `expandvolume` is the
controller's, where the volume is not; it then goes on to `expandfs`, which is the kubelet's. The
rest is for drivers that attach."""


class Room(Protocol):
    """The room, as this door needs it; each method raises VolumeError or OSError."""

    def create(
        self, volume: Volume, tenant: Tenant, deadline: Deadline, secrets: Secrets = NO_SECRETS
    ) -> Created:
        """Make what is missing of its data."""
        ...

    def publish(
        self,
        volume: Volume,
        publication: Publication,
        deadline: Deadline,
        secrets: Secrets = NO_SECRETS,
    ) -> Published:
        """Show it at a target; the same again for the same target."""
        ...

    def unpublish(self, target: Path, deadline: Deadline, *, remove: bool = False) -> Unpublished:
        """Take it off; well if it is gone."""
        ...

    def expand(
        self,
        volume: Volume,
        tenant: Tenant,
        size: int,
        deadline: Deadline,
        secrets: Secrets = NO_SECRETS,
    ) -> int:
        """Grow it to at least `size` bytes; how large it is now."""
        ...

    def published_at(self, target: Path) -> tuple[Volume, Tenant]:
        """What is shown there, and for whom."""
        ...


@dataclass(frozen=True, slots=True)
class _Request:
    arguments: tuple[str, ...]
    open_room: Callable[[], Room]
    deadline: Deadline
    facts: dict[str, str]


def handle(call: Call, open_room: Callable[[], Room], deadline: Deadline) -> Reply:
    """Serve one call; the room is opened by calls that need it. Never raises."""
    facts = _facts(call)
    try:
        outcome, more = _served(call, open_room, deadline, facts)
    except Exception as error:  # noqa: BLE001  # the outermost frame: a kubelet must get JSON
        outcome, message = outcome_of(error), message_of(error)
        facts |= {"outcome": outcome.value, "error": message, "error_type": type(error).__name__}
        return Reply(encode(outcome, message), facts)
    facts["outcome"] = outcome.value
    return Reply(encode(outcome, more=more), facts)


def _facts(call: Call) -> dict[str, str]:
    verb = call.arguments[0] if call.arguments else ""
    known = verb in _VERBS or verb in NEVER_SUPPORTED
    facts = {
        "call": verb if known else "other",
        "traceparent": call.environment.get("TRACEPARENT", ""),
    }
    return {key: value for key, value in facts.items() if value}


def _served(
    call: Call, open_room: Callable[[], Room], deadline: Deadline, facts: dict[str, str]
) -> tuple[Outcome, Mapping[str, object]]:
    if not call.arguments:
        raise InvalidError("a kubelet calls this with what it wants: init, mount, unmount, ...")
    verb, *rest = call.arguments
    if verb in NEVER_SUPPORTED:
        return Outcome.NOT_SUPPORTED, {}
    if verb not in _VERBS:
        calls = ", ".join(sorted({*_VERBS, *NEVER_SUPPORTED}))
        raise InvalidError(f"there is no call {verb[:40]!r}: there are {calls}")
    serve, count = _VERBS[verb]
    if len(rest) != count:
        raise InvalidError(f"{verb} is called with {count} arguments, not {len(rest)}")
    return Outcome.DONE, serve(_Request(tuple(rest), open_room, deadline, facts))


def _init(_request: _Request) -> Mapping[str, object]:
    return {"capabilities": CAPABILITIES}


def _mount(request: _Request) -> Mapping[str, object]:
    """`mount <dir> <json>`; a kubelet has made the directory."""
    target, options = _target(request, 0), parse_options(request.arguments[1])
    tenant = options.tenant
    request.facts["pod"] = f"{tenant.namespace}/{tenant.pod}" if tenant.pod else tenant.namespace
    volume = to_volume(options, tenant.namespace, _instance(tenant, target))
    request.facts.update(volume_id=volume.id, volume_kind=volume.kind.value)
    room, deadline = request.open_room(), request.deadline
    room.create(volume, tenant, deadline, options.secrets)
    place = _publication(target, tenant, options)
    published = room.publish(volume, place, deadline, options.secrets)
    _note(request, published.remarks)
    return {}


def _unmount(request: _Request) -> Mapping[str, object]:
    """`unmount <dir>`, also of one that is not mounted; the kubelet removes the directory."""
    gone = request.open_room().unpublish(_target(request, 0), request.deadline)
    if gone.volume_id:
        kind = gone.volume_id.partition(".")[0]
        request.facts.update(volume_id=gone.volume_id, volume_kind=kind)
    _note(request, gone.remarks)
    return {}


def _expandfs(request: _Request) -> Mapping[str, object]:
    """`expandfs <json> <device> <dir> <new bytes> <old bytes>`, of one that is mounted there.

    The volume is the one that is published at the directory: the options name no namespace.
    """
    target = _target(request, 2)
    size = _parse_count(request.arguments[3])
    room = request.open_room()
    volume, tenant = room.published_at(target)
    request.facts.update(volume_id=volume.id, volume_kind=volume.kind.value)
    return {"volumeNewSize": room.expand(volume, tenant, size, request.deadline)}


_VERBS: Mapping[str, tuple[Callable[[_Request], Mapping[str, object]], int]] = {
    "init": (_init, 0),
    "mount": (_mount, 2),
    "unmount": (_unmount, 1),
    "expandfs": (_expandfs, 5),
}
_TARGETS = {"mount": 0, "unmount": 0, "expandfs": 2}
"""Which argument of a call is the directory that it is about."""


def target_of(arguments: tuple[str, ...]) -> str:
    """What a call is about, for calls of one target to be served in their order; empty: nothing."""
    verb, *rest = arguments or ("",)
    index = _TARGETS.get(verb, len(rest))
    return rest[index] if index < len(rest) else ""


def _target(request: _Request, index: int) -> Path:
    target = request.arguments[index]
    request.facts["target"] = target
    return Path(target)


def _instance(tenant: Tenant, target: Path) -> str:
    """For volumes that live as long as their publication: no two pods have one directory."""
    if not tenant.uid:
        raise InvalidError("kubernetes.io/pod.uid is missing")
    return f"{tenant.uid}/{target.name}"


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(1 << 63))):
        raise InvalidError("the new size is no number of bytes")
    return int(text)


def _publication(target: Path, tenant: Tenant, options: Options) -> Publication:
    return Publication(target, tenant, options.readonly, options.fs_group)


def _note(request: _Request, remarks: tuple[str, ...]) -> None:
    if remarks:
        request.facts["remarks"] = "; ".join(remarks)
