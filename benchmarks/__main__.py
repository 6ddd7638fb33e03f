"""`make bench`: run every measurement one after the other and print one table.

Exit 0 when all could be measured, whether goals were met or not: this is a report, not a gate.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import crowd, measures, network, throughput, volumes
from benchmarks.figures import Figure, render
from benchmarks.lab import LabError


async def _measure(folder: Path, *, quick: bool) -> list[Figure]:
    figures = [*await measures.start(folder, 3 if quick else 10)]
    if os.geteuid() == 0:
        figures += await measures.hot_plug(folder, 10 if quick else 100)
    else:
        print("left out: uevent to list, which needs root to make loop devices", file=sys.stderr)
    figures += await measures.calls(folder, 200 if quick else 2000)
    figures += await asyncio.to_thread(network.calls, folder, 20 if quick else 100)
    figures += await asyncio.to_thread(crowd.flat, folder, 40 if quick else 200)
    figures += await asyncio.to_thread(throughput.rates, folder, 4 if quick else 16)
    figures += await asyncio.to_thread(volumes.calls, folder, 40 if quick else 200)
    figures += await measures.rest(folder, 10 if quick else 60)
    return figures


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a first impression")
    quick = parser.parse_args().quick
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"Linux {platform.release()}, Python {platform.python_version()}, ", end="")
    print(
        f"load before the run {os.getloadavg()[0]:.1f} (more than 1 spoils the figures)", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="rb") as folder:
        try:
            figures = asyncio.run(_measure(Path(folder), quick=quick))
        except (LabError, OSError) as error:
            print(f"could not measure: {error}", file=sys.stderr)
            return 1
    print(render(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
