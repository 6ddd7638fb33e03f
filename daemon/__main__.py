"""`ringbolt` and `python -m daemon`."""

import os
import sys

# gRPC's core reads it once, when it is loaded, and else prints its own lines beside our log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback while it is still being loaded."""
    try:
        from daemon.cli import main as run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
