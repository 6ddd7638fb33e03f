"""When the kernel said what: the moment from which a device's way to the kubelet is measured."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Generator

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1


class KernelEvents:
    """The time of the last event for each action and device name."""

    def __init__(self) -> None:
        self._at_s: dict[tuple[str, str], float] = {}
        self._news = asyncio.Event()

    async def at_s(self, action: str, name: str) -> float:
        """time.monotonic() when the kernel's event was heard, once it is; forgets it."""
        async with asyncio.timeout(10):
            while (action, name) not in self._at_s:
                self._news.clear()
                await self._news.wait()
        return self._at_s.pop((action, name))

    def hear(self, message: bytes) -> None:
        """Take down one uevent: "action@devpath", then its variables."""
        now = time.monotonic()
        action, _, path = message.split(b"\0", 1)[0].decode(errors="replace").partition("@")
        self._at_s[action, path.rpartition("/")[2]] = now
        self._news.set()


@contextlib.contextmanager
def kernel_events() -> Generator[KernelEvents]:
    """Listen while the context lasts."""
    loop, events = asyncio.get_running_loop(), KernelEvents()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as heard:
        heard.bind((0, KERNEL_GROUP))
        heard.setblocking(False)  # noqa: FBT003 - the socket's own signature
        loop.add_reader(heard, lambda: events.hear(heard.recv(65536)))
        try:
            yield events
        finally:
            loop.remove_reader(heard)
