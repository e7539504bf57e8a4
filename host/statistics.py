"""How long predictions took, and what went wrong on the line meanwhile."""

from dataclasses import asdict
from typing import Any

import numpy as np

from heddle.host.session import Counts


class Statistics:
    """Grows with each prediction.

    Attributes
    ----------
    seconds
        In which predictions were made, all in all.
    counts
        What happened on the line.
    """

    def __init__(self, counts: Counts) -> None:
        self.counts, self.seconds = counts, 0.0
        self._latencies: list[float] = []

    def add(self, seconds: float) -> None:
        """Note that a reply came so long after its request was sent."""
        self._latencies.append(seconds)

    @property
    def samples(self) -> int:
        """Predictions so far."""
        return len(self._latencies)

    @property
    def per_second(self) -> float:
        """Predictions a second."""
        return self.samples / self.seconds if self.seconds else 0.0

    def latency_ms(self) -> dict[str, float]:
        """Return milliseconds from a request's last sending to its reply, by ``median``, ``p95``, ``min`` and ``max``.

        Where several requests are under way, those before it are in it: ask with a depth of 1 for the latency of one.
        """
        if not self._latencies:
            return {}
        times = 1e3 * np.array(self._latencies)
        shares = {"min": 0, "median": 50, "p95": 95, "max": 100}
        return {name: round(float(np.percentile(times, share)), 3) for name, share in shares.items()}

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "latency_ms": self.latency_ms(),
            "samples_per_second": round(self.per_second, 2),
            "seconds": round(self.seconds, 3),
            "line": asdict(self.counts),
        }
