"""What the sandbox finds that it may do, in places where only the kernel can tell."""

import os
import subprocess
import sys
from pathlib import Path

_LOOK = (
    "from ringbolt.sandbox.ability import find_ability; "
    "found = find_ability(); print(found.means.value, *found.lacks)"
)


def test_a_bare_chroot_is_named(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    subprocess.run(["mount", "--rbind", "/", host], check=True)
    try:
        for entry in Path("/").iterdir():
            if entry.name != host.name:
                (tmp_path / entry.name).symlink_to(f"host/{entry.name}")
        found = subprocess.run(
            ["chroot", tmp_path, sys.executable, "-c", _LOOK],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        subprocess.run(["umount", "--lazy", host], check=True)
    assert found.stdout.startswith("none This is a bare chroot"), found.stderr
