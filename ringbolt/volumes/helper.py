"""Programs that serve file systems by FUSE, as the node's operator names them. Pure.

Who writes a pod chooses one by name and a source that its operator's globs allow, and nothing else:
neither a program, nor an argument, nor an option that no rule names.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ringbolt.linux.mount_program import FILES, TARGET
from ringbolt.volumes.errors import InvalidError, RefusedError

_PLACE = re.compile(r"\{(source|target|options|secret:[A-Za-z0-9._-]{1,253})\}")


@dataclass(frozen=True, slots=True)
class Helper:
    """`argv` with `{source}`, `{target}`, `{options}` and `{secret:KEY}`, the path of a file.

    `sources` are globs over what may be served. `stdin`: the key of the secret that it reads from
    its standard input. `foreground`: it serves itself; else it ends well once a child of it does.
    """

    name: str
    argv: tuple[str, ...]
    sources: tuple[str, ...]
    stdin: str = ""
    foreground: bool = False

    @property
    def secrets(self) -> frozenset[str]:
        """Keys of the secrets that it is given."""
        found = {place for one in self.argv for place in _PLACE.findall(one)}
        keys = {place.partition(":")[2] for place in found if place.startswith("secret:")}
        return frozenset(keys | ({self.stdin} if self.stdin else set()))

    def check(self, source: str, options: tuple[str, ...]) -> None:
        """Raises RefusedError, InvalidError for what it must not be asked for."""
        if not any(fnmatchcase(source, glob) for glob in self.sources):
            raise RefusedError(f"{source[:200]!r} is none of the sources of helper {self.name}")
        if ".." in re.split("[/:]", source):
            raise InvalidError("a source has no '..'")
        if source.startswith("-"):
            raise InvalidError("a source begins with no dash: it would be an option")
        if "," in source and any("{source}" in one and one != "{source}" for one in self.argv):
            raise InvalidError(f"a source of helper {self.name} has no comma")
        if options and not any("{options}" in one for one in self.argv):
            raise InvalidError(f"helper {self.name} takes no mount options")

    def filled(self, source: str, options: tuple[str, ...]) -> tuple[str, ...]:
        """Its argv; each is looked at once, so nothing filled in is taken for a place."""
        places = {"source": source, "target": TARGET, "options": ",".join(options)}

        def put(found: re.Match[str]) -> str:
            kind, _, key = found[1].partition(":")
            return f"{FILES}/{key}" if key else places[kind]

        return tuple(_PLACE.sub(put, one) for one in self.argv)


def problem_of(helper: Helper) -> str:
    """What its operator should mend; empty if nothing."""
    if not helper.argv:
        return "argv is empty: name a program"
    if "{" in helper.argv[0]:
        return "the program itself is nobody's to choose: write its name"
    if not any("{target}" in one for one in helper.argv):
        return "argv has no {target}: the program must be told where to mount"
    for one in helper.argv:
        if rest := re.search(r"\{[^}]*\}", _PLACE.sub("", one)):
            return f"{rest[0]} is unknown: {{source}}, {{target}}, {{options}}, {{secret:KEY}} are"
    return "" if helper.sources else "sources is empty: name what it may serve, by globs"
