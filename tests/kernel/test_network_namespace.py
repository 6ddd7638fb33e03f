"""Network namespaces by descriptor, and their sysctls, against the real kernel."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from ringbolt.linux import link, netlink, network_namespace, sysctl
from ringbolt.linux.network_namespace import identify, identify_own, inside
from tests.kernel.netlab import namespace, refusal

FORWARD = "net/ipv4/ip_forward"
ACCEPT_DAD = "net/ipv6/conf/default/accept_dad"


def test_work_runs_inside_and_the_caller_stays_outside() -> None:
    here = identify_own()
    with namespace() as fd:
        assert inside(fd, identify_own) == identify(fd)
        assert identify(fd) != here
    assert identify_own() == here


def test_the_thread_that_went_inside_is_gone() -> None:
    with namespace() as fd:
        thread = inside(fd, threading.get_native_id)
    assert thread != threading.get_native_id()
    end = time.monotonic() + 20
    while Path(f"/proc/self/task/{thread}").exists():
        assert time.monotonic() < end


def test_what_work_raises_is_raised_here() -> None:
    def fail() -> None:
        raise LookupError("inside")

    with namespace() as fd, pytest.raises(LookupError, match="inside"):
        inside(fd, fail)


def test_a_visit_goes_on_while_its_caller_does_something_else() -> None:
    go = threading.Event()

    def wait_and_identify() -> network_namespace.Identity:
        assert go.wait(20)
        return identify_own()

    with namespace() as fd:
        run, finish = network_namespace.visit(fd, wait_and_identify)
        threading.Thread(target=run).start()
        assert identify_own() != identify(fd)
        go.set()
        assert finish() == identify(fd)


def test_a_namespace_is_the_same_by_every_descriptor() -> None:
    with namespace() as fd:
        again = network_namespace.open_namespace(f"/proc/self/fd/{fd}")
        try:
            assert identify(again) == identify(fd)
        finally:
            os.close(again)


def test_what_is_no_network_namespace_is_refused(tmp_path: Path) -> None:
    unmounted = tmp_path / "cni-1234"
    unmounted.touch()
    with refusal(errno.EINVAL, f"{unmounted} is not a network namespace"):
        network_namespace.open_namespace(str(unmounted))
    with refusal(errno.EINVAL, "/proc/self/ns/uts is not a network namespace"):
        network_namespace.open_namespace("/proc/self/ns/uts")
    with refusal(errno.ENOENT):
        network_namespace.open_namespace(str(tmp_path / "nobody"))
    with unmounted.open() as file, refusal(errno.EINVAL, f"descriptor {file.fileno()} is not"):
        network_namespace.check(file.fileno())
    with unmounted.open() as file, refusal(errno.EINVAL, "setns"):
        inside(file.fileno(), identify_own)


def test_a_dead_namespace_goes_with_its_last_descriptor() -> None:
    """The pair dies with the pod's end, so a late DEL finds nothing and that is well."""
    with netlink.Socket() as host:
        with namespace() as fd:
            peer = link.End("eth0", netns_fd=fd)
            with netlink.Listener([1]) as listener:
                host.request([link.new_veth(link.End("cali1"), peer)])
                listener.read()
        host.request([link.delete_link("cali1").forgiving(errno.ENODEV)])
        assert link.find(host, "cali1") is None


def test_sysctls_are_set_in_one_namespace_alone() -> None:
    before = sysctl.read(FORWARD), sysctl.read(ACCEPT_DAD)
    with namespace() as fd:
        sysctl.write_inside(fd, {FORWARD: "1", ACCEPT_DAD: "0"})
        assert inside(fd, lambda: (sysctl.read(FORWARD), sysctl.read(ACCEPT_DAD))) == ("1", "0")
    assert (sysctl.read(FORWARD), sysctl.read(ACCEPT_DAD)) == before


def test_a_sysctl_that_cannot_be_set_is_named() -> None:
    with refusal(errno.ENOENT, "sysctl net/ipv4/no_such: No such file or directory"):
        sysctl.write("net/ipv4/no_such", "1")
    with refusal(errno.EINVAL, f"sysctl {FORWARD}=many: Invalid argument"):
        sysctl.write(FORWARD, "many")
