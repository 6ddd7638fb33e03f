"""A helper that serves by FUSE, as operators have them: fuse_helper.py [-f] SOURCE TARGET [SECRET].

SOURCE is a directory to be told by: while `hang` lies in it nothing is answered, `pid` is written
there. The one file that it serves, `disk`, holds what the file SECRET or its standard input held.
Without -f it serves in a child, as most do, and keeps its output open, as some do.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ringbolt.linux import mount
from tests.kernel import fuse_lab


def main() -> None:
    """Mount, then serve until it is unmounted."""
    words = sys.argv[1:]
    foreground = "-f" in words
    source, target, *secret = (word for word in words if word != "-f")
    content = Path(secret[0]).read_bytes() if secret else sys.stdin.buffer.read()
    file = fuse_lab.File(len(content), bytearray(content))
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other"
    mount.mount("helper", target, "fuse.helper", mount.MS_NOSUID | mount.MS_NODEV, options)
    if not foreground and os.fork():
        os._exit(0)
    if not foreground:
        os.setsid()
    (Path(source) / "pid").write_text(str(os.getpid()))
    fuse_lab.serve(fd, file, lambda: _wait(Path(source) / "hang"))


def _wait(hang: Path) -> None:
    while hang.exists():
        time.sleep(0.05)


if __name__ == "__main__":
    main()
