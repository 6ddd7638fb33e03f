"""Volumes that are shares of SMB servers, by mount.cifs(8).

Who may use one is decided by its secrets, `username`, `password` and `domain`, which the program
reads from a file that only it sees. Each volume has a connection and superblock of its own
(nosharesock). The data is the server's: it is never deleted here.
"""

import re
from contextlib import ExitStack

from ringbolt.linux.mount import MountPoint
from ringbolt.linux.mount_program import FILES, TARGET, Program
from ringbolt.volumes.ability import NODE, Ability
from ringbolt.volumes.aside import Aside, one_line
from ringbolt.volumes.backend import Ask
from ringbolt.volumes.errors import InvalidError, RefusedError
from ringbolt.volumes.mounts import Root
from ringbolt.volumes.nfs import check_host, check_plain, context_of
from ringbolt.volumes.outcome import Created
from ringbolt.volumes.paths import Places
from ringbolt.volumes.spec import Cifs, Kind
from ringbolt.volumes.volume import Secrets, Volume

_SHARE = re.compile(r"[^/\\,]+(/[^/\\,]+)*")
"""A comma would end the option that the program makes of it."""

_ALWAYS = ("nosuid", "nodev", "nosharesock")
_FILE = "credentials"
_TICKET = frozenset({"sec=krb5", "sec=krb5i"})
_LONGEST = {"username": 255, "password": 511, "domain": 255}
"""What mount.cifs has room for; it would cut off the rest (cifs-utils, mount.cifs.c)."""


class CifsBackend:
    """The kind `cifs`."""

    kind = Kind.CIFS
    staged = True
    options = frozenset(
        {
            *("vers", "uid", "gid", "forceuid", "forcegid", "file_mode", "dir_mode"),
            *("noperm", "perm", "dynperm", "nobrl", "cache", "actimeo", "acregmax", "acdirmax"),
            *("iocharset", "mapchars", "mapposix", "nomapposix", "mfsymlinks", "nounix", "unix"),
            *("noserverino", "serverino", "seal", "sign", "nosetuids", "setuids", "nocase"),
            *("rsize", "wsize", "bsize", "hard", "soft", "echo_interval", "max_credits"),
            *("nohandlecache", "handletimeout", "persistenthandles", "resilienthandles"),
            *("multichannel", "max_channels", "nodfs", "nostrictsync", "noposixpaths", "nolease"),
            *("closetimeo", "retrans", "fsc", "cifsacl", "modefromsid", "idsfromsid", "guest"),
            *("sec=none", "sec=ntlm", "sec=ntlmi", "sec=ntlmv2", "sec=ntlmv2i"),
            *("sec=ntlmssp", "sec=ntlmsspi"),
        }
    )
    """Of mount.cifs(8): none names another server, a port, a user or a file. Kerberos is not among
    them: it takes the tickets of the node, which are not the pod's to use."""

    def __init__(self, places: Places, node: Ability = NODE) -> None:
        self._aside = Aside(places)
        self._node = node

    def lacks(self) -> str:
        """The kernel's client and the program."""
        return self._node.lacks_program("mount.cifs") or self._node.lacks_filesystem("cifs")

    def validate(self, volume: Volume) -> None:
        """Raise InvalidError for what a share cannot be."""
        spec = _spec(volume)
        check_host(spec.server)
        parts = spec.share.split("/")
        if not _SHARE.fullmatch(spec.share) or {".", ".."} & set(parts):
            raise InvalidError(
                f"{spec.share[:80]!r} is no share: NAME or NAME/folder, without '..', comma and "
                "backslash"
            )
        check_plain(volume)

    def create(self, ask: Ask) -> Created:
        """The server has it, or mounting says so."""
        return Created(ask.volume.id, None, fresh=False)

    def open_tree(self, ask: Ask, undo: ExitStack) -> int:
        """Have it mounted aside, with the rights of the secret's user."""
        del undo  # a detached mount goes with its descriptor
        options = [*_ALWAYS, *context_of(self._node, ask), *ask.options]
        files: dict[str, bytes] = {}
        if not {"guest", *_TICKET} & set(ask.options):
            files[_FILE] = _credentials(ask.secrets)
            options.append(f"credentials={FILES}/{_FILE}")
        program = self._node.program("mount.cifs") or "mount.cifs"
        argv = (program, _source(ask.volume), TARGET, "-n", "-o", ",".join(options))
        return self._aside.mount(Program(argv, files), ask).tree

    def holds(self, volume: Volume, point: MountPoint, root: Root) -> bool:
        """By its type and source; the place is of this volume's id alone."""
        del root
        return point.fstype in ("cifs", "smb3") and point.source == _source(volume)

    def release(self, volume: Volume) -> None:
        """Nothing is held."""

    def delete(self, volume: Volume) -> bool:
        """Never: it is the server's."""
        raise RefusedError(f"{_spec(volume).server} has the data: delete it there")


def _source(volume: Volume) -> str:
    spec = _spec(volume)
    return f"//{spec.server.strip('[]')}/{spec.share}"


def _credentials(secrets: Secrets) -> bytes:
    """The file's lines: a value goes from the first `=` to the end of its line, commas and all."""
    names = ["username", "password"]
    if "domain" in secrets.values:
        names.append("domain")
    lines: list[bytes] = []
    for name in names:
        value = one_line(secrets, name)
        if len(value) > _LONGEST[name]:
            raise InvalidError(f"the secret's {name!r} is longer than {_LONGEST[name]} bytes")
        # mount.cifs doubles commas of a password for the kernel, of nothing else.
        if b"," in value and name != "password":
            raise InvalidError(f"the secret's {name!r} has a comma, which would begin an option")
        lines.append(name.encode() + b"=" + value + b"\n")
    return b"".join(lines)


def _spec(volume: Volume) -> Cifs:
    if not isinstance(volume.spec, Cifs):
        raise RefusedError(f"{volume.kind.value} is not cifs")
    return volume.spec
