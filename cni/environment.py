"""The variables of a call: which a command needs, and what they may hold.

Texts, codes and the order of the checks are the reference skeleton's: people know and grep them.
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cni.codes import CniError, Code

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_LONGEST_INTERFACE = 15


class Command(enum.Enum):
    """CNI_COMMAND."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_COMMANDS = {one.value: one for one in Command}
_PER_CONTAINER = frozenset({Command.ADD, Command.CHECK, Command.DEL})
_REQUIRED = {  # in the order in which the skeleton looks at them
    "CNI_CONTAINERID": _PER_CONTAINER,
    "CNI_NETNS": frozenset({Command.ADD, Command.CHECK}),
    "CNI_IFNAME": _PER_CONTAINER,
    "CNI_PATH": _PER_CONTAINER | {Command.GC, Command.STATUS},
}


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables, checked as far as the command needs them; `command` None: nobody knows it."""

    word: str
    command: Command | None
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: str = ""
    path: str = ""
    netns_override: bool = False


def is_name(text: str) -> bool:
    """Whether this may be a container's id or a network's name."""
    return _NAME.fullmatch(text) is not None


def read_environment(variables: Mapping[str, str]) -> Environment:
    """The variables of one call. Raises CniError (invalid environment)."""
    word = variables.get("CNI_COMMAND", "")
    command = _COMMANDS.get(word)
    missing = [] if word else ["CNI_COMMAND"]
    for name, commands in _REQUIRED.items():
        value = variables.get(name, "")
        if command not in commands:
            continue
        if not value:
            missing.append(name)
        elif problem := _CHECKS.get(name, _nothing)(value):
            raise problem
    if missing:
        text = f"required env variables [{','.join(missing)}] missing"
        raise CniError(Code.INVALID_ENVIRONMENT, text)
    return Environment(
        word=word,
        command=command,
        container_id=variables.get("CNI_CONTAINERID", ""),
        netns=variables.get("CNI_NETNS", ""),
        ifname=variables.get("CNI_IFNAME", ""),
        args=variables.get("CNI_ARGS", ""),
        path=variables.get("CNI_PATH", ""),
        netns_override=variables.get("CNI_NETNS_OVERRIDE", "").upper() in ("TRUE", "1"),
    )


def _nothing(_text: str) -> CniError | None:
    return None


def _check_container_id(text: str) -> CniError | None:
    if is_name(text):
        return None
    return CniError(Code.INVALID_ENVIRONMENT, "invalid characters in containerID", text)


def _check_ifname(text: str) -> CniError | None:
    if len(text.encode(errors="surrogateescape")) > _LONGEST_INTERFACE:
        details = f"interface name should be less than {_LONGEST_INTERFACE + 1} characters"
        return CniError(Code.INVALID_ENVIRONMENT, "interface name is too long", details)
    if text in (".", ".."):
        return CniError(Code.INVALID_ENVIRONMENT, "interface name is . or ..")
    if any(letter in "/:" or letter.isspace() for letter in text):
        message = "interface name contains / or : or whitespace characters"
        return CniError(Code.INVALID_ENVIRONMENT, message)
    return None


_CHECKS = {"CNI_CONTAINERID": _check_container_id, "CNI_IFNAME": _check_ifname}
