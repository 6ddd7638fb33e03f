"""An image of one static busybox, as a file that a runtime imports: no registry is asked."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

import pytest

IMAGE = "ringbolt.test/busybox:1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}
_IDLE = ["/bin/busybox", "sleep", "2147483647"]


def write_image(path: Path, busybox: Path) -> None:
    """Write the image; run without a command it does nothing, for as long as it is let."""
    program = busybox.read_bytes()
    if b"/ld-linux" in program:
        pytest.skip("needs a busybox without libraries: apt-get install busybox-static")
    layer = _tar({"bin/busybox": program})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": _IDLE},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    files = {"config.json": json.dumps(config).encode(), "layer.tar": layer}
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    path.write_bytes(_tar({**files, "manifest.json": json.dumps(manifest).encode()}))


def _tar(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()
