"""The doors that this layer shuts are shut, and one mark opens one of them."""

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

libc = ctypes.CDLL(None)


def _connect() -> None:
    with socket.socket(socket.AF_UNIX) as ours:
        ours.connect("/nowhere")


def _internet_socket() -> None:
    socket.socket(socket.AF_INET).close()


@pytest.mark.parametrize(
    ("touch", "door"),
    [
        (libc.getpid, "libc"),
        (lambda: ctypes.CDLL(None).getpid(), "libc"),
        (lambda: ctypes.cdll.LoadLibrary("libc.so.6").getpid(), "libc"),
        (lambda: subprocess.run(["true"], check=True), "subprocess"),
        (lambda: os.system("true"), "subprocess"),
        (lambda: os.posix_spawn("/bin/true", ["true"], {}), "subprocess"),
        (_connect, "sockets"),
        (_internet_socket, "sockets"),
        (lambda: socket.getaddrinfo("localhost", 80), "sockets"),
        (lambda: Path("/sys/kernel/uevent_seqnum").read_text(), "sysfs"),
        (lambda: list(Path("/sys/class").iterdir()), "sysfs"),
    ],
)
def test_every_shut_door_refuses(touch: "ctypes._FuncPointer", door: str) -> None:
    with pytest.raises(BaseException, match=f'keeps the door "{door}" shut') as refused:
        touch()
    assert not isinstance(refused.value, Exception), "an `except Exception` could swallow it"


@pytest.mark.effects("libc")
def test_a_mark_opens_its_door() -> None:
    assert libc.getpid() == os.getpid()


@pytest.mark.effects("libc")
def test_a_mark_opens_no_other_door() -> None:
    with pytest.raises(BaseException, match='keeps the door "subprocess" shut'):
        subprocess.run([sys.executable, "-c", ""], check=True)


async def test_an_event_loop_still_runs_behind_shut_doors() -> None:
    assert libc is not None
