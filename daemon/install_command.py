"""`ringbolt install` and `ringbolt uninstall`: network plugin and volume driver, on this node.

What is done in which order, and what is worth saying about it.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click
from yaml import YAMLError

from cni.codes import CniError
from daemon import cni_conflist, cni_install, installation, volume_install
from daemon.command_options import CNI_BIN_DIR, CNI_CONF_DIR, CONFIG, RUN_DIR, STATE_DIR, F
from daemon.config import Config, load
from daemon.installation import InstalledFile
from daemon.options import NetworkOptions
from daemon.problem import ConfigError
from ringbolt.network.errors import NetworkError
from ringbolt.network.removal import remove_networks
from ringbolt.volumes.errors import VolumeError

_PROGRAM_MODE = 0o755
_CONFLIST_MODE = 0o644
_PATH: Any = click.Path(path_type=Path)


def _places(command: F) -> F:
    """The options that both commands have."""
    options = (
        CNI_BIN_DIR,
        CNI_CONF_DIR,
        click.option(
            "--flexvolume-dir",
            type=_PATH,
            help="Where the kubelet looks for volume drivers; default: what the running one says.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_places
@CONFIG
@STATE_DIR
@click.option("--launcher", type=_PATH, help="The program to install; default: the package's own.")
def install(
    cni_bin_dir: Path,
    cni_conf_dir: Path,
    flexvolume_dir: Path | None,
    config: Path,
    *,
    state_dir: Path,
    launcher: Path | None,
) -> None:
    """Give this node's pods the network and the volumes that the configuration describes."""
    found = _load(config)
    program = _read_launcher(launcher)
    files: list[InstalledFile] = []
    if found.network:
        content = _conflist(found.network, config)
        files.append(InstalledFile(cni_bin_dir / cni_conflist.PLUGIN, program, _PROGRAM_MODE))
        files.append(InstalledFile(cni_conf_dir / cni_conflist.NAME, content, _CONFLIST_MODE))
    if found.volumes or flexvolume_dir:
        driver = _driver(flexvolume_dir)
        files.append(InstalledFile(driver, program, _PROGRAM_MODE))
    if not files:
        _fail(f"{config} has neither a `network:` nor a `volumes:` section: nothing to install")
    with _recording(state_dir, tuple(files)):
        for one in files:
            _place(one.path, one.content, one.mode)
    if found.network:
        with _refusing(cni_conf_dir / cni_conflist.NAME):
            cni_install.announce(cni_conf_dir / cni_conflist.NAME)
        _warn(cni_bin_dir, cni_conf_dir)


@click.command()
@_places
@CONFIG
@RUN_DIR
@STATE_DIR
@click.option("--force", is_flag=True, help="Remove plugin and driver though pods need them.")
def uninstall(
    cni_bin_dir: Path,
    cni_conf_dir: Path,
    flexvolume_dir: Path | None,
    config: Path,  # noqa: ARG001 - it is called with the options of `install`
    run_dir: Path,
    *,
    state_dir: Path,
    force: bool,
) -> None:
    """Take away what `install` put here; plugin and driver stay while pods need them to end."""
    with _refusing(state_dir):
        installation.forget(state_dir)
    _remove(cni_conf_dir / cni_conflist.NAME)
    needed = _why_needed(run_dir)
    _remove_unless(cni_bin_dir / cni_conflist.PLUGIN, "" if force else needed)
    if not needed:
        _remove_networks(run_dir)
    driver = _driver(flexvolume_dir)
    if flexvolume_dir or driver.exists():
        _remove_unless(driver, "" if force else _why_mounted(run_dir))
        with suppress(OSError):
            driver.parent.rmdir()


def _load(config: Path) -> Config:
    try:
        return load(config)
    except ConfigError as error:
        for problem in error.problems:
            _tell(str(problem))
        sys.exit(1)


def _conflist(network: NetworkOptions, config: Path) -> bytes:
    try:
        return cni_conflist.conflist(network)
    except CniError as error:
        _fail(f"{config}: network: {error}")


def _driver(asked: Path | None) -> Path:
    try:
        return (asked or volume_install.find_folder()) / volume_install.DRIVER
    except (OSError, ValueError, YAMLError) as error:
        _fail(f"the kubelet's configuration cannot be read ({error}); give --flexvolume-dir")


def _read_launcher(asked: Path | None) -> bytes:
    try:
        return (asked or cni_install.find_launcher()).read_bytes()
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}; build it with launcher/build build/launcher")


def _place(path: Path, content: bytes, mode: int) -> None:
    with _refusing(path):
        changed = cni_install.place(path, content, mode)
    click.echo(f"{'installed' if changed else 'is up to date:'} {path}")


def _remove(path: Path) -> None:
    with _refusing(path):
        removed = cni_install.remove(path)
    click.echo(f"{'removed' if removed else 'was not there:'} {path}")


def _remove_unless(program: Path, reason: str) -> None:
    if not reason:
        _remove(program)
    elif program.exists():
        _tell(f"{program} stays: {reason}; uninstall again once they are gone, or with --force")


def _why_mounted(run_dir: Path) -> str:
    try:
        live = volume_install.live_volumes(run_dir)
    except (VolumeError, OSError) as error:
        return f"whether volumes are mounted cannot be read ({error})"
    return f"it must unmount the volumes that pods still have ({', '.join(live)})" if live else ""


def _remove_networks(run_dir: Path) -> None:
    try:
        for what in remove_networks(run_dir):
            click.echo(f"removed {what}")
    except (NetworkError, OSError, ValueError) as error:
        _tell(f"warning: bridges and the packet filter's table may be left: {error}")


def _why_needed(run_dir: Path) -> str:
    try:
        count = cni_install.count_attached(run_dir)
    except (NetworkError, OSError) as error:
        return f"whether pods are attached cannot be read ({error})"
    return f"it must detach the pods that are still attached ({count})" if count else ""


def _warn(bin_dir: Path, conf_dir: Path) -> None:
    """Say what keeps a runtime from using what was installed."""
    with _refusing(conf_dir):
        names = [path.name for path in conf_dir.iterdir() if not path.is_dir()]
    if first := cni_conflist.preferred(names):
        _tell(
            f"warning: runtimes use {conf_dir / first[0]} and not {cni_conflist.NAME}, which"
            " comes after it; move it away once its pods are gone"
        )
    if not (bin_dir / "loopback").exists():
        _tell(
            f"warning: {bin_dir} has no loopback plugin, without which containerd starts no pod"
            " unless use_internal_loopback is set"
        )


@contextmanager
def _recording(state_dir: Path, files: tuple[InstalledFile, ...]) -> Generator[None]:
    """Record it first, so that an agent does not bring an older one back; not if it fails."""
    try:
        installation.keep(state_dir, files)
    except OSError as error:
        _tell(f"warning: the agent will not put it back: {state_dir}: {error.strerror}")
        yield
        return
    try:
        yield
    except BaseException:
        installation.forget(state_dir)
        raise


@contextmanager
def _refusing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        _fail(f"{path}: {error.strerror}; run it as root, with this folder writable")


def _fail(reason: str) -> NoReturn:
    _tell(f"error: {reason}")
    sys.exit(1)


def _tell(text: str) -> None:
    click.echo(text, err=True)
