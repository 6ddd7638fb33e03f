"""Programs that a kernel or server of this machine lacks the other half of, as scripts of a test.

Each notes its argv, standard input and what lay in files that it was named, then does as told.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from ringbolt.volumes.ability import Ability

_RECORDER = """#!{python} -IS
import json, os, re, subprocess, sys
files = {{}}
for word in re.findall(r"(?:^|[=,])(/[^=,]+)", "\\n".join(sys.argv[1:])) + sys.argv[1:]:
    if os.path.isfile(word):
        with open(word, "rb") as file:
            read = file.read().decode("latin-1")
        files[os.path.basename(word)] = [read, oct(os.stat(word).st_mode)]
stdin = sys.stdin.buffer.read().decode("latin-1")
call = {{"argv": sys.argv, "stdin": stdin, "files": files, "environ": dict(os.environ)}}
with open({log!r}, "a") as log:
    log.write(json.dumps(call) + "\\n")
ARGV, STDIN = sys.argv, stdin
{body}
"""

MOUNTS_TMPFS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
target = next(word for word in ARGV if word.endswith("/target"))
if libc.mount(ARGV[1].encode(), target.encode(), b"tmpfs", 0, b"size=1m"):
    sys.exit(32)
"""
"""As if it had mounted its first argument; what stands there is a tmpfs."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a program. `files`: (content, mode) of each file that it was named."""

    argv: list[str]
    stdin: str
    files: dict[str, tuple[str, str]]
    environ: dict[str, str]

    @property
    def open_text(self) -> str:
        """All that anybody on the machine may read of it."""
        return json.dumps([self.argv, self.environ], ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Programs:
    """A directory of programs; `ability` is a node that has them, and nothing else."""

    folder: Path
    ability: Ability

    def add(self, name: str, body: str = "") -> None:
        """Have a program that runs `body` (Python) after it noted how it was called."""
        program = self.folder / name
        text = _RECORDER.format(python=sys.executable, log=str(self._log(name)), body=body)
        program.write_text(text, encoding="utf-8")
        program.chmod(0o755)

    def calls(self, name: str) -> list[Call]:
        """How it was called so far."""
        if not self._log(name).exists():
            return []
        lines = self._log(name).read_text(encoding="utf-8").splitlines()
        calls = [Call(**json.loads(line)) for line in lines]
        return [
            replace(one, files={n: (v[0], v[1]) for n, v in one.files.items()}) for one in calls
        ]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.calls"


def programs(folder: Path, *filesystems: str) -> Programs:
    """Of a node whose kernel has these file systems."""
    for name in ("bin", "proc"):
        (folder / name).mkdir()
    listed = "".join(f"nodev\t{one}\n" for one in filesystems)
    (folder / "proc" / "filesystems").write_text(listed, encoding="ascii")
    node = Ability(
        folder / "proc", folder / "modules", folder / "sys", folder / "dev", str(folder / "bin")
    )
    return Programs(folder / "bin", node)
