"""The numbers of pods' networks and of the calls that runtimes make. No logic reads them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ringbolt.network.leases import Usage

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)


class NetworkMetrics:
    """A part of the agent's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attached = Gauge(
            "ringbolt_network_attachments",
            "Attached interfaces of pods",
            ["network"],
            registry=registry,
        )
        self._addresses = Gauge(
            "ringbolt_network_addresses",
            "Addresses by what they do: used, free, cooling (free again soon)",
            ["network", "range", "state"],
            registry=registry,
        )
        self._mended = Counter(
            "ringbolt_network_mended", "Faults put right", ["network"], registry=registry
        )
        self._reclaimed = Counter(
            "ringbolt_network_reclaimed",
            "Attachments taken back without the runtime",
            ["network"],
            registry=registry,
        )
        self._calls = Histogram(
            "ringbolt_exec_call_seconds",
            "Time that the agent works at an exec call of a runtime or kubelet",
            ["kind", "command", "result"],
            buckets=_SECONDS,
            registry=registry,
        )

    def attached(self, network: str, count: int) -> None:
        """So many interfaces are attached."""
        self._attached.labels(network).set(count)

    def addresses(self, network: str, words: str, usage: Usage) -> None:
        """A range set is this full."""
        free = usage.capacity - usage.held - usage.cooling
        for state, count in (("used", usage.held), ("free", free), ("cooling", usage.cooling)):
            self._addresses.labels(network, words, state).set(count)

    def forget_networks(self) -> None:
        """What was told of networks is old."""
        self._attached.clear()
        self._addresses.clear()

    def mended(self, network: str) -> None:
        """A fault was put right."""
        self._mended.labels(network).inc()

    def reclaimed(self, network: str) -> None:
        """An attachment was taken back."""
        self._reclaimed.labels(network).inc()

    def exec_called(self, kind: str, command: str, seconds: float, result: str) -> None:
        """An exec call was served."""
        self._calls.labels(kind, command, result).observe(seconds)
