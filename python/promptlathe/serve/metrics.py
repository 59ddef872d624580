"""The metrics, in a registry of their own: several applications in a process do not clash."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .record import Record

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Refusals take less than a millisecond, models minutes.
_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class Metrics:
    """What Prometheus can ask for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "promptlathe_requests",
            "Requests by endpoint and status; 499: the caller left before the answer.",
            ["endpoint", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "promptlathe_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["endpoint"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "promptlathe_requests_in_flight",
            "Calls of the three endpoints that are in flight.",
            registry=self.registry,
        )
        self._tokens = Counter(
            "promptlathe_upstream_tokens",
            "Tokens by the usage of the answers.",
            ["kind"],
            registry=self.registry,
        )
        self._attempts = Counter(
            "promptlathe_upstream_attempts",
            "Requests sent to the upstream.",
            registry=self.registry,
        )

    def count(self, record: Record) -> None:
        """Count a request that has ended."""
        self._requests.labels(record.path, str(record.status)).inc()
        self._seconds.labels(record.path).observe(record.seconds)
        self._attempts.inc(record.attempts)
        self._tokens.labels("input").inc(record.input_tokens or 0)
        self._tokens.labels("output").inc(record.output_tokens or 0)

    def text(self) -> bytes:
        """Return the text format 0.0.4."""
        return generate_latest(self.registry)
