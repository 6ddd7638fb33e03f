"""Puts the launcher into the package, as hatchling builds it.

With the ziglang wheel (requirements/launcher.txt) it is built for every kind of machine, otherwise
by this machine's compiler for its own kind. Nothing is fetched here.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARE = "share/ringbolt/launcher"


class LauncherHook(BuildHookInterface[Any]):
    """Builds into build/launcher; a development install keeps it there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and name what was built. Raises CalledProcessError where it does not compile."""
        folder = Path(self.root, "build", "launcher")
        for old in folder.glob("launcher-*"):
            old.unlink()
        crosses = version != "editable" and importlib.util.find_spec("ziglang") is not None
        if not crosses and not shutil.which(os.environ.get("CC", "cc")):
            self.app.display_warning("no launcher: neither ziglang nor a C compiler is here")
            return
        command = [str(Path(self.root, "launcher", "build")), str(folder)]
        environment = {**os.environ, "PYTHON": sys.executable}
        subprocess.run([*command, *([] if crosses else ["--native"])], env=environment, check=True)
        for built in sorted(folder.glob("launcher-*")):
            build_data["shared_data"][str(built)] = f"{SHARE}/{built.name}"
