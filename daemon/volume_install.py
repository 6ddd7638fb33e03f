"""Where a kubelet looks for the volume driver, and whether volumes still need it there.

A kubelet looks in one folder, and nodes differ in which: its own command line and configuration
say, where it can be seen. Nothing is guessed where it says nothing: then it is the default's.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from ringbolt.volumes.errors import NotAvailableError
from ringbolt.volumes.kinds import open_volumes
from ringbolt.volumes.setting import read_setting

DRIVER = Path("ringbolt.dev~volume", "volume")
"""Below that folder, for `flexVolume: {driver: ringbolt.dev/volume}`."""

DEFAULT = Path("/usr/libexec/kubernetes/kubelet-plugins/volume/exec")
_KNOWN = (
    DEFAULT,
    Path("/var/lib/kubelet/volumeplugins"),
    Path("/etc/kubernetes/kubelet-plugins/volume/exec"),
    Path("/home/kubernetes/flexvolume"),
    Path("/opt/libexec/kubernetes/kubelet-plugins/volume/exec"),
)
"""Of the kubelet itself, RKE and SUSE, OpenShift, GKE, hosts whose /usr is read-only."""

_FLAG = "volume-plugin-dir"
_KEY = "volumePluginDir"


def find_folder(root: Path = Path("/"), commands: Iterable[Sequence[str]] | None = None) -> Path:
    """The folder that this node's kubelet looks in. Raises OSError for a file it cannot read.

    `commands` are the command lines of what runs; `root` is where this node's files are.
    """
    words = next(_kubelets(_running() if commands is None else commands), None)
    if words is not None:
        return _flag(words, _FLAG) or _configured(root, words) or DEFAULT
    return next((one for one in _KNOWN if (root / one.relative_to("/")).is_dir()), DEFAULT)


def _running() -> Iterator[Sequence[str]]:
    import psutil  # noqa: PLC0415 - of all commands only this one needs it

    for process in psutil.process_iter(["cmdline"]):
        yield process.info["cmdline"] or ()


def _kubelets(commands: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Those of a kubelet, also where one program is all of a node's (k3s, hyperkube)."""
    for words in commands:
        if words and (Path(words[0]).name == "kubelet" or _flag(words, _FLAG)):
            yield words


def _flag(words: Sequence[str], name: str) -> Path | None:
    """`--name=value`, `--name value`, and as k3s hands it on: `--kubelet-arg=name=value`."""
    for word, after in zip(words, (*words[1:], ""), strict=True):
        own, _, value = word.partition(f"{name}=")
        if value and own.rstrip("=").lstrip("-") in {"", "kubelet-arg"}:
            return Path(value)
        if word.lstrip("-") == name and word != name and after:
            return Path(after)
    return None


def _configured(root: Path, words: Sequence[str]) -> Path | None:
    """What its configuration says."""
    import yaml  # noqa: PLC0415

    file = _flag(words, "config")
    if file is None:
        return None
    found: Any = yaml.safe_load((root / str(file).lstrip("/")).read_text(encoding="utf-8"))
    value = cast("dict[str, Any]", found).get(_KEY) if isinstance(found, dict) else None
    return Path(value) if isinstance(value, str) and value else None


def live_volumes(run_dir: Path) -> tuple[str, ...]:
    """Volumes that pods have now, by their ids. Raises VolumeError, OSError."""
    try:
        setting = read_setting(run_dir)
    except NotAvailableError:
        if any((run_dir / "volumes" / "published").glob("*.json")):
            raise
        return ()
    return tuple(one.volume_id for one in open_volumes(setting).list() if one.publications)
