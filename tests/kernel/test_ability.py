"""What the sandbox finds that it may do, in places where only the kernel can tell."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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


@pytest.mark.root
def test_root_without_the_network_capability_is_not_taken_for_root(
    need_program: Callable[[str, str], str],
) -> None:
    """Its pods and its node could not even bring up their loopback."""
    setpriv = need_program("setpriv", "util-linux")
    without = ("--bounding-set=-net_admin", "--inh-caps=-net_admin")
    found = subprocess.run(
        [setpriv, *without, sys.executable, "-c", _LOOK],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(("user namespace", "none"))
