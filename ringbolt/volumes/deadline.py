"""How long a call may take. One value is made at the door and handed down to whatever waits."""

import time
from dataclasses import dataclass
from typing import Self

from ringbolt.volumes.errors import DeadlineError


@dataclass(frozen=True, slots=True)
class Deadline:
    """`end` by the monotonic clock, in seconds."""

    end: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """That long from now."""
        return cls(time.monotonic() + seconds)

    def left_s(self) -> float:
        """Never below 0."""
        return max(0.0, self.end - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise DeadlineError, saying what was being done, once the time is over."""
        if self.left_s() == 0:
            raise DeadlineError(f"{doing}: it took too long; it is safe to try again")
