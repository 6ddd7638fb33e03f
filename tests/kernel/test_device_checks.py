"""Checks and pre-start actions with real processes, nodes and terminals."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ringbolt.devices import health, prestart
from ringbolt.devices.command_environment import environment
from ringbolt.devices.device import Device, DeviceId, Member
from ringbolt.devices.prestart import Machine, PreStartError
from ringbolt.devices.resource import Check, Health, PreStart, ResourceName
from ringbolt.devices.tree import Node, SysPath
from ringbolt.linux import command, openers, usbdevfs

ENV = {"PATH": "/usr/bin:/bin"}
USB = SysPath("/devices/pci0000:00/0000:00:14.0/usb1/1-2")


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


def device(dev_node: str, anchor: SysPath | None = None) -> Device:
    node = anchor and Node(anchor, "x", "usb", "", "", None, (), frozenset(), {})
    members = (Member("m", dev_node, "tty"),)
    return Device(DeviceId("gps"), ResourceName("ringbolt.dev/x"), members, anchor=node or None)


@pytest.fixture
def terminal() -> Iterator[str]:
    """The path of a new terminal, which nothing but this process has open."""
    with ExitStack() as undo:
        here, there = os.openpty()
        undo.callback(os.close, here)
        undo.callback(os.close, there)
        yield os.ttyname(there)


@pytest.fixture
def holder(terminal: str) -> Iterator[int]:
    """A process that has the terminal open."""
    script = f"f = open({terminal!r}); print(flush=True); import sys; sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


# --- Programs ---------------------------------------------------------------------------------


def test_a_program_is_told_of_its_device_and_of_nothing_else() -> None:
    found = device("/dev/ttyUSB0", USB)
    outcome = command.run(("/usr/bin/env",), environment(found), 10)
    told = dict(line.split("=", 1) for line in outcome.output.splitlines())
    assert set(told) - {"PATH", "LC_ALL"} == {
        f"RINGBOLT_{name}" for name in ("DEVICE", "RESOURCE", "NODES", "SYSFS")
    }
    assert told["RINGBOLT_NODES"] == "/dev/ttyUSB0"
    assert told["RINGBOLT_SYSFS"] == USB


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        ("echo well", ""),
        ("echo bad >&2; echo more; exit 3", "exited with 3: bad"),
        ("kill -TERM $$", "was ended by SIGTERM"),
    ],
)
def test_how_a_program_ended_is_told_in_words(script: str, failure: str) -> None:
    assert command.run(shell(script), ENV, 10).failure == failure


def test_a_program_that_takes_too_long_is_killed_with_its_children() -> None:
    outcome = command.run(shell("echo begun; sleep 1000 & sleep 1000"), ENV, 0.3)
    assert outcome.code is None
    assert outcome.failure == "took too long and was killed: begun"


def test_what_a_program_leaves_behind_does_not_hold_up_the_answer() -> None:
    outcome = command.run(shell("sleep 1000 & echo done"), ENV, 100)
    assert (outcome.code, outcome.output) == (0, "done\n")


def test_endless_output_is_read_and_a_part_of_it_kept() -> None:
    outcome = command.run(shell("head -c 3000000 /dev/zero"), ENV, 60)
    assert outcome.code == 0
    assert len(outcome.output) == command.OUTPUT_BYTES


def test_a_check_by_command() -> None:
    def verdict(*argv: str) -> health.Verdict:
        return health.check(device(os.devnull), Health(check=Check.COMMAND, command=argv))

    assert verdict(*shell('test "$RINGBOLT_NODES" = /dev/null')).ok
    assert verdict(*shell("echo no link; exit 1")).reason == "/bin/sh exited with 1: no link"
    assert verdict("/bin/absent").reason == "/bin/absent cannot be run: No such file or directory"


# --- Nodes ------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_node_without_a_driver_cannot_be_opened(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mknod needs root")
    node = tmp_path / "node"
    try:
        os.mknod(node, 0o020600, os.makedev(60, 7))  # 60-63: local and experimental use
    except PermissionError:
        pytest.skip("mknod is not permitted here")
    found = Device(DeviceId("d"), ResourceName("ringbolt.dev/x"), (Member("m", str(node), "misc"),))
    assert health.check(found, Health(check=Check.STAT)).ok
    verdict = health.check(found, Health(check=Check.OPEN))
    assert not verdict.ok
    assert verdict.reason.startswith(f"{node} cannot be opened: No such device")


# --- Who has it open ----------------------------------------------------------------------------


def test_openers_are_found_by_the_device_and_not_by_its_path(
    terminal: str, holder: int, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(terminal)
    number = openers.device_number(str(tmp_path / "link"))
    assert number is not None
    found = openers.find_openers([number]).found
    assert [opener.pid for opener in found] == [holder]
    assert found[0].command.startswith("python")


def test_a_process_that_vanishes_has_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "123").mkdir()
    (tmp_path / "456" / "fd").mkdir(parents=True)
    (tmp_path / "456" / "fd" / "3").symlink_to("/dev/absent")
    null = openers.device_number(os.devnull)
    assert null is not None
    assert openers.find_openers([null], str(tmp_path)) == ((), 0)


def test_occupancy_refuses_and_names_the_holder(terminal: str, holder: int) -> None:
    with pytest.raises(PreStartError, match=rf"gps is in use: python\S* \({holder}\) has it open"):
        prestart.run(device(terminal), PreStart(occupancy=True))


def test_occupancy_lets_a_free_device_through(terminal: str) -> None:
    prestart.run(device(terminal), PreStart(occupancy=True))


def test_occupancy_of_a_missing_node_says_so() -> None:
    with pytest.raises(PreStartError, match="/dev/absent is not there"):
        prestart.run(device("/dev/absent"), PreStart(occupancy=True))


# --- Reset, settle, command -----------------------------------------------------------------------


def usb_texts(path: SysPath, name: str) -> str | None:
    return {"busnum": "1", "devnum": "7"}.get(name) if path == USB else None


def test_the_usb_device_is_the_nearest_one_above() -> None:
    below = SysPath(f"{USB}/1-2:1.0/ttyUSB0/tty/ttyUSB0")
    assert prestart.find_usb_node(device("/dev/x", below), usb_texts) == "/dev/bus/usb/001/007"
    assert (
        prestart.find_usb_node(device("/dev/x", SysPath("/devices/virtual/a")), usb_texts) is None
    )
    assert prestart.find_usb_node(device("/dev/x"), usb_texts) is None


def test_a_reset_of_what_is_no_usb_device_says_so(tmp_path: Path) -> None:
    node = tmp_path / "bus/usb/001/007"
    node.parent.mkdir(parents=True)
    node.write_text("")
    with pytest.raises(OSError, match=f"USBDEVFS_RESET {node}"):
        usbdevfs.reset(str(node))
    machine = Machine(read=usb_texts, dev=tmp_path)
    with pytest.raises(PreStartError, match=f"{node} cannot be reset"):
        prestart.run(device("/dev/x", USB), PreStart(usb_reset=True), machine)
    with pytest.raises(PreStartError, match="gps is no USB device"):
        prestart.run(device("/dev/x"), PreStart(usb_reset=True), machine)


def test_settle_waits_for_the_stable_link_and_gives_up_in_time(tmp_path: Path) -> None:
    machine = Machine(links_dir=tmp_path)
    (tmp_path / "gps").mkdir()
    with pytest.raises(PreStartError, match=r"gps has not come back in time: .*No such file"):
        prestart.run(device("/dev/absent"), PreStart(settle_s=0.2), machine)
    # The node comes back under another number while the agent waits.
    later = f'sleep 0.3; ln -s /dev/null "{tmp_path}/gps/m"'
    with subprocess.Popen(["/bin/sh", "-c", later]):
        prestart.run(device("/dev/absent"), PreStart(settle_s=60, timeout_s=60), machine)
    assert (tmp_path / "gps/m").is_symlink()


def test_a_command_runs_last_and_its_failure_is_the_reason(tmp_path: Path) -> None:
    prestart.run(
        device(os.devnull), PreStart(command=shell(f"echo $RINGBOLT_DEVICE >{tmp_path}/f"))
    )
    assert (tmp_path / "f").read_text() == "gps\n"
    with pytest.raises(PreStartError, match="/bin/sh exited with 4: no lock"):
        prestart.run(device(os.devnull), PreStart(command=shell("echo no lock; exit 4")))
    with pytest.raises(PreStartError, match="took too long"):
        prestart.run(device(os.devnull), PreStart(command=shell("sleep 1000"), timeout_s=0.2))
