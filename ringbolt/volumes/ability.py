"""What this node can: file systems of its kernel, programs, SELinux; what to do where it cannot.

Facts are looked up each time they are asked for: an operator who installs what is missing need not
restart anything. No kind of volume enters.
"""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ringbolt.linux.command import ENVIRONMENT

PACKAGES = {
    "mount.nfs": "nfs-common (Debian, Ubuntu) or nfs-utils",
    "mount.cifs": "cifs-utils",
    "iscsiadm": "open-iscsi (Debian, Ubuntu) or iscsi-initiator-utils",
    "cryptsetup": "cryptsetup-bin (Debian, Ubuntu) or cryptsetup",
    "sshfs": "sshfs",
    "s3fs": "s3fs",
    "rclone": "rclone",
}
"""Where programs are from."""

CONTAINER_CONTEXT = "system_u:object_r:container_file_t:s0"
"""What SELinux's policies let containers of every category read and write."""


@dataclass(frozen=True, slots=True)
class Ability:
    """Of the node whose files lie below these; `path` is where programs are looked for."""

    proc: Path = Path("/proc")
    modules: Path = Path("/lib/modules")
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    path: str = ENVIRONMENT["PATH"]

    def program(self, name: str) -> str | None:
        """Where it is, None: it is not installed."""
        return shutil.which(name, path=self.path)

    def lacks_program(self, name: str) -> str:
        """What to install; empty if it is there."""
        if self.program(name):
            return ""
        package = PACKAGES.get(name.rpartition("/")[2])
        hint = f": install {package}" if package else ": install it, in the agent's image too"
        return f"the program {name} is missing{hint}"

    def lacks_filesystem(self, name: str) -> str:
        """What to load; empty if the kernel has it or can load it when it is first mounted."""
        with suppress(OSError):
            known = (self.proc / "filesystems").read_text(encoding="ascii").split()
            if name in known:
                return ""
        return "" if self._has_module(name) else self._missing(f"file system {name}", name)

    def lacks_module(self, name: str) -> str:
        """The same for what is no file system: it is loaded, built in, or can be loaded."""
        loaded = (self.sysfs / "module" / name).exists()
        return "" if loaded or self._has_module(name) else self._missing(f"module {name}", name)

    def lacks_device(self, name: str, module: str) -> str:
        """A device node of a driver."""
        if (self.dev / name).exists():
            return ""
        return f"/dev/{name} is missing: `modprobe {module}`, and give the agent's container /dev"

    def selinux_enforces(self) -> bool:
        """Whether an unlabelled mount would be of no use to containers."""
        with suppress(OSError):
            return (self.sysfs / "fs/selinux/enforce").read_text(encoding="ascii").strip() == "1"
        return False

    def _has_module(self, name: str) -> bool:
        """In the kernel itself or in a file that modprobe(8) finds (modules.dep(5))."""
        folder = self.modules / os.uname().release
        wanted = tuple(f"/{one}.ko" for one in {name, name.replace("_", "-")})
        for index in ("modules.builtin", "modules.dep"):
            with suppress(OSError), (folder / index).open(encoding="utf-8") as lines:
                if any(one in line.partition(":")[0] for line in lines for one in wanted):
                    return True
        return False

    def _missing(self, what: str, module: str) -> str:
        return (
            f"the kernel has no {what}: `modprobe {module}` on the node, or install the package of "
            "its modules; where they are there, show the agent /lib/modules"
        )


NODE = Ability()
"""This one."""
