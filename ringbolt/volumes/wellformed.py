"""Texts and numbers from outside, held to what paths and ids may be made of. Pure.

Every option that a pod's author writes is hostile; what passes here stays where it belongs.
"""

import re

from ringbolt.volumes.errors import InvalidError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_TEXT = 4096


def check_name(text: str) -> None:
    """A name that a user gives: one component of a path, never hidden. Raises InvalidError."""
    if not _NAME.fullmatch(text):
        raise InvalidError(
            f"{text[:140]!r} is no name of a volume: up to 128 of A-Z a-z 0-9 . _ -, "
            "beginning with a letter or digit"
        )


def check_absolute(text: str) -> None:
    """An absolute path without `..`, `.`, empty parts or control characters."""
    if not text.startswith("/"):
        raise InvalidError(f"{text[:200]!r} is no absolute path")
    if text != "/":
        check_relative(text[1:])


def check_relative(text: str) -> None:
    """A path that stays below where it begins, as text; links are the kernel's to refuse."""
    check_text(text)
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise InvalidError(f"{text[:200]!r}: no '..', '.', empty part or slash at the ends")


def check_text(text: str) -> None:
    """Printable, and of a sane length. The error does not show it: it may hold a password."""
    if not text or len(text) > _LONGEST_TEXT or _UNPRINTABLE.search(text):
        raise InvalidError("a value is empty, longer than 4096, or has control characters")


def check_size(size: int | None) -> None:
    """Bytes or inodes, as the kernel can count them."""
    if size is not None and not 0 < size < 1 << 63:
        raise InvalidError(f"{size} is no size: a whole number above 0 is")
