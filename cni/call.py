"""One call of the door and its reply: what a runtime hands over and gets back, as values."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """`netns_fd`: CNI_NETNS opened by who was called, owned by them; None if it cannot be opened.

    `age_s`: how long ago the runtime made the call, of one that had to wait for an agent. `aside`:
    what is to be entered while another process is waited for.
    Neither environment nor stdin shows in a repr: both may carry secrets.
    """

    environment: Mapping[str, str] = field(repr=False)
    stdin: bytes = field(default=b"", repr=False)
    netns_fd: int | None = None
    age_s: float = 0.0
    aside: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True, slots=True)
class Reply:
    """The exit code and what is printed. `facts` are for the log: who, where, what came of it."""

    code: int
    stdout: bytes = b""
    stderr: bytes = b""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
