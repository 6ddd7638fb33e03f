"""The numbers the agent keeps about itself, for Prometheus. No logic reads them."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class Metrics:
    """One registry for one agent, so that several can run in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._units = Gauge(
            "ringbolt_device_units",
            "Units in the last list that a kubelet took",
            ["resource", "health"],
            registry=registry,
        )
        self._lists = Counter(
            "ringbolt_lists_sent", "Lists sent to a kubelet", ["resource"], registry=registry
        )
        self._registrations = Counter(
            "ringbolt_registrations",
            "Registrations at a kubelet",
            ["resource", "result"],
            registry=registry,
        )
        self._streams = Gauge(
            "ringbolt_streams_live", "Live ListAndWatch streams", ["resource"], registry=registry
        )
        self._calls = Histogram(
            "ringbolt_call_seconds",
            "Time to answer a kubelet's call",
            ["resource", "call", "result"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._looks = Histogram(
            "ringbolt_look_seconds",
            "Time from a settled hint to the published devices",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )

        self._volumes = Gauge(
            "ringbolt_volumes",
            "Volumes that are mounted, or that lie in the agent's own directories unused",
            ["kind", "state"],
            registry=registry,
        )

    def list_sent(self, resource: str, healthy: int, unhealthy: int) -> None:
        """A stream has taken a list."""
        self._lists.labels(resource).inc()
        self._units.labels(resource, "Healthy").set(healthy)
        self._units.labels(resource, "Unhealthy").set(unhealthy)

    def registered(self, resource: str, *, failed: bool) -> None:
        """A registration was answered."""
        self._registrations.labels(resource, _result(failed=failed)).inc()

    def streams(self, resource: str, live: int) -> None:
        """The number of a resource's streams has changed."""
        self._streams.labels(resource).set(live)

    def called(self, resource: str, call: str, seconds: float, *, failed: bool) -> None:
        """A call was answered."""
        self._calls.labels(resource, call, _result(failed=failed)).observe(seconds)

    def looked(self, seconds: float, *, full: bool) -> None:
        """The machine was looked at."""
        self._looks.labels("full" if full else "hinted").observe(seconds)

    def volumes(self, counts: Mapping[tuple[str, str], int]) -> None:
        """How many there are, by kind and state."""
        self._volumes.clear()
        for (kind, state), count in counts.items():
            self._volumes.labels(kind, state).set(count)

    def forget(self, resource: str) -> None:
        """A resource has been removed."""
        for health in ("Healthy", "Unhealthy"):
            self._units.remove(resource, health)
        self._streams.remove(resource)

    def exposition(self) -> bytes:
        """The text format that Prometheus scrapes."""
        return generate_latest(self.registry)


def _result(*, failed: bool) -> str:
    return "failed" if failed else "ok"
