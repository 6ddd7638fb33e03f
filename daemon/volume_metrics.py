"""The numbers of pods' volumes. No logic reads them."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from ringbolt.volumes.health import Ailment


class VolumeMetrics:
    """A part of the agent's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ailing = Gauge(
            "ringbolt_volume_ailments",
            "What is wrong with mounted volumes now",
            ["kind", "fault"],
            registry=registry,
        )
        self._seen = Counter(
            "ringbolt_volume_faults",
            "What was seen going wrong with mounted volumes",
            ["kind", "fault"],
            registry=registry,
        )
        self._restored = Counter(
            "ringbolt_volume_restored",
            "Publications mounted again that somebody had unmounted",
            ["kind"],
            registry=registry,
        )

    def examined(self, ailments: Iterable[Ailment], fresh: Iterable[Ailment]) -> None:
        """What a look found, and what of it is new."""
        self._ailing.clear()
        for (kind, fault), count in Tally(map(_labels, ailments)).items():
            self._ailing.labels(kind, fault).set(count)
        for one in fresh:
            self._seen.labels(*_labels(one)).inc()

    def restored(self, one: Ailment) -> None:
        """What was unmounted is mounted again."""
        self._restored.labels(_labels(one)[0]).inc()


def _labels(one: Ailment) -> tuple[str, str]:
    return one.volume_id.partition(".")[0], one.fault.value
