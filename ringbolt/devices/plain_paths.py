"""Paths that a resource names and udev does not know: folders such as /dev/snd, sockets, files.

Looks, and changes nothing. Whether a path is after all a node that udev knows is for `assemble`.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ringbolt.devices.explain import takes_path
from ringbolt.devices.pattern import Kind, Pattern
from ringbolt.devices.resource import Resource, ResourceName

_MAGIC = re.compile(r"[*?\[]")
_DEEPEST = 8
_MOST = 10_000
"""Folders and files that one pattern may lead through: a careless `/**` must end."""


def look(
    resources: Iterable[Resource], dev_root: Path = Path("/")
) -> Mapping[ResourceName, tuple[str, ...]]:
    """The existing paths, sorted, that each resource's path terms take.

    `dev_root` is put before every path and is no part of the answer. What cannot be read counts as
    absent: it may appear later.
    """
    root = os.fspath(dev_root).rstrip("/")
    return {resource.name: _taken(resource, root) for resource in resources}


def directories(resources: Iterable[Resource], dev_root: Path = Path("/")) -> frozenset[Path]:
    """The folders whose entries decide what `look` finds, whether they exist yet or not.

    With them those that CDI takes apart: it names every node inside.
    """
    root = os.fspath(dev_root).rstrip("/")
    return frozenset(
        Path(root + folder)
        for resource in resources
        for folder in (*_deciding(resource, root), *_taken_apart(resource, root))
    )


def _deciding(resource: Resource, root: str) -> Iterator[str]:
    for term in resource.select:
        for pattern in term.path_patterns:
            yield from _folders(pattern, root)


def _taken_apart(resource: Resource, root: str) -> Iterator[str]:
    for path in _taken(resource, root) if resource.container.needs_cdi else ():
        if os.path.isdir(root + path):  # noqa: PTH112 - see _folders_in
            yield path
            yield from _folders_in(path, root, _DEEPEST)


def _folders(pattern: Pattern, root: str) -> Iterator[str]:
    if pattern.kind is Kind.EXACT:
        yield pattern.text.rpartition("/")[0]
        return
    start = _fixed_part(pattern)
    yield start
    depth = _DEEPEST if "**" in pattern.text else pattern.text.count("/") - start.count("/")
    if pattern.kind is not Kind.REGEX and depth > 1:
        yield from _folders_in(start, root, depth - 1)


def _folders_in(folder: str, root: str, depth: int) -> Iterator[str]:
    for path, _ in zip(_below(root, folder, depth), range(_MOST), strict=False):
        # Path.is_dir() raises where a file system does not answer (a dead FUSE or NFS mount).
        if os.path.isdir(root + path) and not os.path.islink(root + path):  # noqa: PTH112, PTH114
            yield path


def _taken(resource: Resource, root: str) -> tuple[str, ...]:
    patterns = [pattern for term in resource.select for pattern in term.path_patterns]
    found = {path for pattern in patterns for path in _matching(pattern, root)}
    return tuple(sorted(path for path in found if takes_path(resource, path)))


def _matching(pattern: Pattern, root: str) -> Iterator[str]:
    if pattern.kind is Kind.EXACT:
        if os.path.lexists(root + pattern.text):
            yield pattern.text
        return
    start = _fixed_part(pattern)
    depth = _DEEPEST if pattern.kind is Kind.REGEX or "**" in pattern.text else 0
    depth = depth or pattern.text.count("/") - start.count("/")
    walk = _below(root, start.rstrip("/"), depth)
    yield from (path for path, _ in zip(walk, range(_MOST), strict=False) if pattern.matches(path))


def _fixed_part(pattern: Pattern) -> str:
    """The folder that everything a pattern matches lies in; a regular expression is for /dev."""
    if pattern.kind is Kind.REGEX:
        return "/dev"
    magic = _MAGIC.search(pattern.text)
    return pattern.text[: magic.start() if magic else None].rpartition("/")[0]


def _below(root: str, folder: str, depth: int) -> Iterator[str]:
    """Everything in the folder, breadth last; links are named and not followed."""
    try:
        with os.scandir(f"{root}{folder}/") as entries:
            inside = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError:
        return
    for name, is_folder in inside:
        yield f"{folder}/{name}"
        if is_folder and depth > 1:
            yield from _below(root, f"{folder}/{name}", depth - 1)
