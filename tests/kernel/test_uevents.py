"""Real uevents, heard in a network namespace of our own, as in a pod."""

import contextlib
import fcntl
import select
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringbolt.devices.tree import SysPath
from ringbolt.devices.uevents import Hints, Uevents
from ringbolt.linux.uevent import Uevent, open_uevents, read_uevents

NULL = SysPath("/devices/virtual/mem/null")
RECORD = "c1:3"
PATIENCE_S = 20.0
TUNSETIFF = 0x400454CA
IFF_TAP = 2
SIOCSIFNAME = 0x8923

pytestmark = pytest.mark.root


@pytest.fixture
def run_udev(tmp_path: Path) -> Path:
    return tmp_path / "udev"


@contextlib.contextmanager
def ears(run_udev: Path, receive_buffer: int = 1 << 20) -> Iterator[Uevents]:
    with contextlib.closing(Uevents(run_udev=run_udev, receive_buffer=receive_buffer)) as uevents:
        yield uevents


def happen(action: str) -> None:
    """An event that the kernel makes on demand; the device itself stays as it is."""
    Path(f"/sys{NULL}/uevent").write_text(action)


def write_record(run_udev: Path) -> None:
    """As udevd does it: beside, then by one rename."""
    data = run_udev / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / ".#new").write_text("I:1\n")
    (data / ".#new").rename(data / RECORD)


def heard(uevents: Uevents) -> bool:
    """Whether the event was heard. It waits in a queue as soon as it has been made."""
    return NULL in uevents.read().paths


def test_the_kernels_events_are_heard(run_udev: Path) -> None:
    with ears(run_udev) as uevents:
        assert not heard(uevents)
        happen("change")
        assert select.select(uevents.filenos(), [], [], PATIENCE_S)[0]
        assert heard(uevents)
        assert not heard(uevents)


def test_of_what_is_renamed_both_places_are_heard(run_udev: Path) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun to make an interface: modprobe tun")
    with ears(run_udev) as uevents, Path("/dev/net/tun").open("rb+", buffering=0) as tun:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"before", IFF_TAP))
        uevents.read()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFNAME, struct.pack("16s16s", b"before", b"after"))
        net = "/devices/virtual/net"
        assert {f"{net}/before", f"{net}/after"} <= uevents.read().paths


def test_lost_events_are_noticed_and_hearing_goes_on(run_udev: Path) -> None:
    with ears(run_udev, receive_buffer=1) as uevents:
        for _ in range(200):
            happen("change")
        assert uevents.read().overflow
        while uevents.read() != Hints():
            continue  # what others on this machine do
        happen("change")
        assert heard(uevents)


def test_with_udevd_its_record_is_the_event(run_udev: Path) -> None:
    write_record(run_udev)
    with ears(run_udev) as uevents:
        happen("add")
        happen("change")
        said = uevents.read()
        assert NULL not in said.paths, "the kernel's own word comes too early to act on"
        assert NULL in said.announced, "but who knows whether udevd is still there"
        happen("change")
        write_record(run_udev)
        said = uevents.read()
        assert (NULL in said.paths, NULL in said.announced) == (True, False)
        write_record(run_udev)
        assert select.select(uevents.filenos(), [], [], PATIENCE_S)[0]
        assert heard(uevents)


def test_with_udevd_what_goes_is_heard_from_the_kernel(run_udev: Path) -> None:
    write_record(run_udev)
    with ears(run_udev) as uevents:
        happen("offline")
        assert heard(uevents)


def test_udevd_may_come_later(run_udev: Path) -> None:
    with ears(run_udev) as uevents:
        happen("change")
        assert heard(uevents)
        write_record(run_udev)
        happen("change")
        assert not heard(uevents), "noticed that udevd has come"
        write_record(run_udev)
        assert heard(uevents)


def test_records_of_devices_that_are_gone_are_no_hints(run_udev: Path) -> None:
    write_record(run_udev)
    with ears(run_udev) as uevents:
        for name in ("c4095:1048575", "n999999", "+usb:9-9", "+", "junk", "b"):
            (run_udev / "data" / ".#new").touch()
            (run_udev / "data" / ".#new").rename(run_udev / "data" / name)
        write_record(run_udev)
        assert heard(uevents)


def a_pod_comes_and_goes() -> None:
    for words in (["add", "pod7", "type", "veth", "peer", "name", "pod8"], ["delete", "pod7"]):
        subprocess.run(["ip", "link", *words], check=True)


def test_pods_that_come_and_go_wake_nobody(run_udev: Path) -> None:
    with ears(run_udev) as uevents:
        a_pod_comes_and_goes()
        assert select.select(uevents.filenos(), [], [], 0)[0] == []
        happen("change")
        assert select.select(uevents.filenos(), [], [], PATIENCE_S)[0]
        assert heard(uevents)


def test_pods_that_come_and_go_wake_nobody_who_waits_for_disks() -> None:
    with open_uevents() as uevents:
        a_pod_comes_and_goes()
        assert select.select([uevents], [], [], 0)[0] == []
        happen("remove")
        assert Uevent("remove", NULL) in (read_uevents(uevents) or ())
