"""`ringbolt` and `python -m daemon`."""

import os

# gRPC's core reads it once, when it is loaded, and else prints its own lines beside our log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from daemon.cli import main

if __name__ == "__main__":
    main()
