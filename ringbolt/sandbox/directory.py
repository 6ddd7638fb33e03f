"""What a starting kubelet does to device-plugins/: its files, never its folders.

Source: kubelet pkg/kubelet/cm/devicemanager/manager.go, CleanupPluginDirectory, removeContents.
"""

import stat
from contextlib import suppress
from pathlib import Path

from ringbolt.sandbox.checkpoint import CHECKPOINT


def wipe(directory: Path, *, files: bool) -> None:
    """Remove every socket, with `files` every ordinary file too; the checkpoint stays.

    What a link leads to decides, as in the kubelet; a dangling link stays.
    """
    for path in sorted(directory.iterdir()):
        with suppress(FileNotFoundError):
            mode = path.stat().st_mode
            doomed = stat.S_ISSOCK(mode) or (files and not stat.S_ISDIR(mode))
            if doomed and path.name != CHECKPOINT:
                path.unlink()


def make_deprecation_file(directory: Path) -> None:
    """The empty file by which a kubelet announces that plugins belong into plugins_registry."""
    (directory / "DEPRECATION").touch()
