"""Kernel parameters, where /proc/sys is the node's and where a container has it read-only."""

import errno
import os
from collections.abc import Generator

import pytest

from ringbolt.linux import mount, network_namespace, sysctl
from tests.kernel.netlab import namespace

FORWARD = "net/ipv4/ip_forward"


@pytest.fixture
def read_only() -> Generator[None]:
    """/proc/sys as a runtime gives it to a container that is not privileged."""
    mount.bind("/proc/sys", "/proc/sys")
    mount.mount_setattr("/proc/sys", mount.MOUNT_ATTR_RDONLY)
    yield
    mount.umount("/proc/sys", mount.MNT_DETACH)


def test_a_parameter_is_written() -> None:
    sysctl.write(FORWARD, "1")
    assert sysctl.read(FORWARD) == "1"


def test_what_is_no_parameter_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="sysctl net/ipv4/none"):
        sysctl.write("net/ipv4/none", "1")


@pytest.mark.root
@pytest.mark.usefixtures("read_only")
def test_a_read_only_view_is_passed_by() -> None:
    with pytest.raises(OSError, match="Read-only") as caught:
        os.open(f"{sysctl.ROOT}/{FORWARD}", os.O_WRONLY)
    assert caught.value.errno == errno.EROFS
    sysctl.write(FORWARD, "1")
    assert sysctl.read(FORWARD) == "1"


@pytest.mark.root
@pytest.mark.usefixtures("read_only")
def test_so_it_is_for_another_namespace_and_that_alone() -> None:
    sysctl.write(FORWARD, "0")
    with namespace() as fd:
        sysctl.write_inside(fd, {FORWARD: "1"})
        inside = network_namespace.inside(fd, lambda: sysctl.read(FORWARD))
    assert (inside, sysctl.read(FORWARD)) == ("1", "0")
