"""Logging of the agent: one canonical line per event on stdout, context bound, never a secret."""

import contextlib
import logging
import sys
from typing import TextIO, cast

from daemon.lean import structlog


class _Output:
    """The part of a file that is written to. A log that cannot be written stops nobody's work."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write what can be written: a disk may be full, and a name no UTF-8."""
        with contextlib.suppress(OSError):
            try:
                self._file.write(text)
            except UnicodeEncodeError:
                encoding = self._file.encoding
                self._file.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        with contextlib.suppress(OSError):
            self._file.flush()


def configure(form: str, level: str) -> None:
    """Log to stdout as `json` or `text`, from `level` (a name of `logging`) on."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Output(sys.stdout))),
        cache_logger_on_first_use=True,
    )
