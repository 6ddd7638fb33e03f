"""A volume as it is asked for, whose it is, and where it shall appear: frozen values.

Strict from the start: a value that exists is well-formed, whoever wrote the text that it was made
of, so no path is ever built of anything else. No policy and no effects enter.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NewType

from ringbolt.volumes.errors import InvalidError
from ringbolt.volumes.spec import (
    BY_NAMESPACE,
    REMOTE,
    Encryption,
    Kind,
    Loop,
    Overlay,
    Spec,
    Subvolume,
    identity_of,
    is_ephemeral,
)
from ringbolt.volumes.wellformed import check_absolute, check_name, check_relative, check_text

Namespace = NewType("Namespace", str)
"""A Kubernetes namespace: volumes named by users are scoped by it."""

VolumeId = NewType("VolumeId", str)
"""Names a volume on this node, and is fit for one component of a path."""

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_ID = re.compile(r"[a-z]+\.[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)
_HASHED_DIGITS = 40
_LARGEST_GROUP = (1 << 32) - 2


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as it is asked for.

    `namespace` scopes names that users give. `subdir` is relative to the volume's root; it must
    exist. `options` are mount options, one each, `name` or `name=value`. `readonly`: for every
    publication. `block`: the raw device, published onto a file. `instance` tells apart those that
    live for one publication only: `<pod uid>/<volume's name in the pod>`. `credential` those that
    are mounted with different secrets, a mark that tells nothing of them.
    """

    spec: Spec
    namespace: Namespace
    subdir: str = ""
    options: tuple[str, ...] = ()
    encryption: Encryption = Encryption.NONE
    readonly: bool = False
    block: bool = False
    instance: str = ""
    credential: str = ""

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise InvalidError(f"{self.namespace!r} is no namespace")
        if self.subdir:
            check_relative(self.subdir)
        for option in self.options:
            check_text(option)
            if "," in option:
                name = option.partition("=")[0].partition(",")[0]
                raise InvalidError(f"mount option {name}: one option each, without a comma")
        if is_ephemeral(self.spec) and not self.instance:
            raise InvalidError(
                f"a {self.kind.value} volume needs the publication that it lives for"
            )

    @property
    def kind(self) -> Kind:
        """What it is made of."""
        return self.spec.kind

    @property
    def id(self) -> VolumeId:
        """What tells it from every other volume of this node.

        Names of users stay readable, all else is hashed. Neither a kind nor a namespace has a dot,
        so no two volumes meet in one id. What is mounted with a namespace's rights, passwords or
        keys is that namespace's alone.
        """
        spec = self.spec
        if isinstance(spec, Loop | Subvolume) or (isinstance(spec, Overlay) and spec.name):
            return VolumeId(f"{self.kind.value}.{self.namespace}.{spec.name}")
        parts = (self.instance,) if is_ephemeral(spec) else identity_of(spec)
        if self.kind in BY_NAMESPACE or self.encryption is not Encryption.NONE:
            parts = (*parts, self.namespace, self.encryption.value, self.credential)
        if self.kind in REMOTE:
            parts = (*parts, *sorted(set(self.options)))
        text = "\0".join(parts).encode("utf-8", "surrogateescape")
        return VolumeId(f"{self.kind.value}.{hashlib.sha256(text).hexdigest()[:_HASHED_DIGITS]}")


def parse_id(text: str) -> VolumeId:
    """A volume id that came from outside. Raises InvalidError."""
    if not _ID.fullmatch(text):
        raise InvalidError(f"{text[:80]!r} is no id of a volume")
    return VolumeId(text)


def parse_namespace(text: str) -> Namespace:
    """Raises InvalidError."""
    if not _NAMESPACE.fullmatch(text):
        raise InvalidError(f"{text[:80]!r} is no namespace")
    return Namespace(text)


def is_named(namespace: str, name: str) -> bool:
    """Whether a volume may be called so; what else lies among ours, somebody else put there."""
    try:
        check_name(name)
    except InvalidError:
        return False
    return _NAMESPACE.fullmatch(namespace) is not None


# --- Who wants it, where -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tenant:
    """The pod that a volume is for; empty where the caller did not say."""

    namespace: Namespace
    pod: str = ""
    uid: str = ""
    service_account: str = ""


@dataclass(frozen=True, slots=True)
class Publication:
    """Where a volume shall appear.

    `target` lies below the kubelet's directory; a directory, or for a block volume a file. It is
    made where it is missing. `fs_group` shall be able to write: files are given to it where the
    volume's root is not its already.
    """

    target: Path
    tenant: Tenant
    readonly: bool = False
    fs_group: int | None = None

    def __post_init__(self) -> None:
        check_absolute(str(self.target))
        if self.fs_group is not None and not 0 <= self.fs_group <= _LARGEST_GROUP:
            raise InvalidError(f"{self.fs_group} is no group id")


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """Passwords and keys of one call, by their names. Never shown, never recorded."""

    values: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self.values))})"

    def get(self, name: str) -> bytes:
        """Raises InvalidError, which says the name and nothing else."""
        try:
            return self.values[name]
        except KeyError:
            raise InvalidError(f"the secret has no {name!r}: name a secret that has it") from None


NO_SECRETS = Secrets()
