"""Hears the kernel's notices about links, addresses, routes, neighbours and our nft table.

After the first notice it waits a little and reads all that came: a storm of pods wakes it a few
times a second, and not while a call is being served, which would wait for it. What a notice means
is the room's to say.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from daemon.lean import structlog
from ringbolt.linux.netlink import NETLINK_NETFILTER, Listener
from ringbolt.linux.notices import NFNLGRP_NFTABLES
from ringbolt.linux.overhearing import Overhearer
from ringbolt.network.filter_signs import read_filter_signs
from ringbolt.network.notice_filter import plan_notice_filter
from ringbolt.network.signs import GROUPS, KINDS, Landmarks, Signs, read_signs

GATHER_S = 0.3
_PAUSE_S = 0.05
_LATEST_S = 2.0
"""From the first notice on: then it is read beside calls too."""

_log = structlog.get_logger()


class NetworkNotices:
    """Tells `heed` where to look, within the event loop; soon, if nobody `is_busy`. Close it."""

    def __init__(self, heed: Callable[[Signs], None], is_busy: Callable[[], bool]) -> None:
        self._heed = heed
        self._is_busy = is_busy
        self._marks = Landmarks()
        self._closing = ExitStack()
        self._links: Overhearer | None = None
        self._is_listening = False

    def close(self) -> None:
        """Stop listening."""
        self._closing.close()
        self._links = None
        self._is_listening = False

    def listen(self, marks: Landmarks) -> None:
        """Judge by these landmarks from now on; listen, if that can be done."""
        is_other, self._marks = marks != self._marks, marks
        if self._is_listening:
            if is_other and self._links:
                self._links.drop_by(plan_notice_filter(marks))
            return
        self._is_listening = True
        try:
            links = self._closing.enter_context(
                Overhearer(GROUPS, KINDS, plan_notice_filter(marks))
            )
            tables = self._closing.enter_context(Listener([NFNLGRP_NFTABLES], NETLINK_NETFILTER))
        except OSError as error:
            _log.warning("changes of pods' networks are seen late", error=str(error))
            self._closing.close()
            return
        self._links = links
        self._watch(links, lambda: read_signs(links.read(), self._marks))
        self._watch(tables, lambda: read_filter_signs(tables.read()))

    def _watch(self, source: Overhearer | Listener, read: Callable[[], Signs]) -> None:
        loop = asyncio.get_running_loop()
        descriptor = source.fileno()
        gathering: list[asyncio.TimerHandle] = []

        def hear() -> None:
            loop.remove_reader(descriptor)
            gathering[:] = [loop.call_later(GATHER_S, take, loop.time() + _LATEST_S)]

        def take(latest: float) -> None:
            if self._is_busy() and loop.time() < latest:
                gathering[:] = [loop.call_later(_PAUSE_S, take, latest)]
                return
            loop.add_reader(descriptor, hear)
            try:
                signs = read()
            except OSError as error:
                _log.warning("a notice of the kernel is unreadable", error=str(error))
                signs = Signs(node=True)
            if signs:
                self._heed(signs)

        def stop() -> None:
            loop.remove_reader(descriptor)
            for one in gathering:
                one.cancel()

        self._closing.callback(stop)
        loop.add_reader(descriptor, hear)
