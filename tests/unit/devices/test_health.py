"""Health: what one look finds, and how many looks change a judgement."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringbolt.devices import health
from ringbolt.devices.device import Device, DeviceId, Member
from ringbolt.devices.health import Judgement, Verdict, judge
from ringbolt.devices.pattern import parse_pattern
from ringbolt.devices.resource import Check, Health, ResourceName
from ringbolt.devices.tree import AttributeReader, Node, SysPath

NULL = SysPath("/devices/virtual/mem/null")
GOOD, BAD = Verdict(ok=True), Verdict(ok=False, reason="no answer")


def reader(**texts: str) -> AttributeReader:
    return lambda path, name: texts.get(name) if path == NULL else None


def device(dev_node: str, subsystem: str = "mem", sys_path: SysPath | None = NULL) -> Device:
    member = Member("m", dev_node, subsystem, sys_path)
    return Device(DeviceId("d"), ResourceName("ringbolt.dev/x"), (member,))


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_only_a_run_of_the_configured_length_changes_the_judgement(
    looks: list[bool], failures: int, recoveries: int
) -> None:
    rules = Health(failures=failures, recoveries=recoveries)
    judgement, fit, streak = Judgement(), True, 0
    for ok in looks:
        judgement = judge(judgement, GOOD if ok else BAD, rules)
        streak = 0 if ok is fit else streak + 1
        if streak == (failures if fit else recoveries):
            fit, streak = ok, 0
        assert judgement.fit is fit
        assert bool(judgement.reason) is not fit


def test_the_reason_is_that_of_the_newest_failure() -> None:
    rules = Health(failures=1, recoveries=2)
    unfit = judge(Judgement(), BAD, rules)
    worse = judge(unfit, Verdict(ok=False, reason="gone"), rules)
    assert (unfit.reason, worse.reason) == ("no answer", "gone")
    assert judge(worse, GOOD, rules).reason == "gone"
    assert judge(judge(worse, GOOD, rules), GOOD, rules) == Judgement()


@pytest.mark.parametrize("how", [Check.PRESENCE, Check.STAT, Check.OPEN])
def test_a_sound_node_passes_every_look(how: Check) -> None:
    assert health.check(device(os.devnull), Health(check=how), reader(dev="1:3")) == GOOD


@pytest.mark.parametrize("how", [Check.PRESENCE, Check.STAT, Check.OPEN])
def test_a_node_that_is_not_there_fails_every_look(how: Check) -> None:
    verdict = health.check(device("/dev/absent"), Health(check=how), reader(dev="1:3"))
    assert not verdict.ok
    assert verdict.reason == "/dev/absent: No such file or directory"


@pytest.mark.parametrize(
    ("subsystem", "number", "reason"),
    [
        ("mem", "1:5", "has the number 1:3, the device 1:5"),
        ("block", "1:3", "is no block device"),
        ("mem", None, "has no device behind it: /devices/virtual/mem/null is gone"),
    ],
)
def test_a_node_that_is_another_device_fails(
    subsystem: str, number: str | None, reason: str
) -> None:
    texts = {"dev": number} if number else {}
    verdict = health.check(device(os.devnull, subsystem), Health(), reader(**texts))
    assert verdict == Verdict(ok=False, reason=f"/dev/null {reason}")


def test_plain_paths_need_only_be_there(tmp_path: Path) -> None:
    assert health.check(device(str(tmp_path), "", None), Health(check=Check.OPEN)).ok


@pytest.mark.parametrize(
    ("node", "subsystem", "why"),
    [
        ("ttyUSB0", "tty", "DTR"),
        ("watchdog0", "watchdog", "reboots"),
        ("watchdog", "misc", "reboots"),
        ("st0", "scsi_tape", "rewinds"),
    ],
)
def test_what_opening_would_act_on_is_not_opened(
    tmp_path: Path, node: str, subsystem: str, why: str
) -> None:
    # A link to a device whose open fails: had it been opened, the verdict would tell.
    (tmp_path / node).symlink_to("/dev/tty")
    found = device(str(tmp_path / node), subsystem, None)
    verdict = health.check(found, Health(check=Check.OPEN))
    assert verdict.ok
    assert why in verdict.reason


def test_attributes_are_compared_with_their_patterns() -> None:
    rules = Health(check=Check.SYSFS, attributes={"state": parse_pattern("run*")})
    assert health.check(device(os.devnull), rules, reader(state="running")) == GOOD
    offline = health.check(device(os.devnull), rules, reader(state="offline"))
    assert offline.reason == "state is 'offline', wanted 'run*'"
    assert (
        health.check(device(os.devnull), rules, reader()).reason == "the attribute state is absent"
    )


def test_attributes_of_the_physical_device_are_found_too() -> None:
    anchor = Node(NULL, "null", "mem", "", "", None, (), frozenset(), {})
    member = Member("m", os.devnull, "mem", SysPath("/devices/virtual/mem/null/x"))
    found = Device(DeviceId("d"), ResourceName("ringbolt.dev/x"), (member,), anchor=anchor)
    rules = Health(check=Check.SYSFS, attributes={"state": parse_pattern("running")})
    assert health.check(found, rules, reader(state="running")).ok


def test_sysfs_is_read_anew_each_time(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "state").write_text("one\n")
    path = SysPath("/devices")
    assert health.read_sysfs(path, "state", tmp_path) == "one"
    (tmp_path / "devices" / "state").write_text("two\n")
    assert health.read_sysfs(path, "state", tmp_path) == "two"
    assert health.read_sysfs(path, "absent", tmp_path) is None
