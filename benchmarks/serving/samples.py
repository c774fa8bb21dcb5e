"""What a load test found: one row per request, and the figures that are made of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOOD = ("200", "OK")  # HTTP and gRPC
PERCENTS = (50, 95, 99)


@dataclass(slots=True)
class Samples:
    """Requests of one or several loads.

    Attributes:
        intended: when each was to be sent, s of the load; for a closed loop when it was sent.
        sent: when it was sent.
        ended: when its answer was complete.
        codes: HTTP status, name of the gRPC code, or `timeout`, `broken`.
        seconds: how long the loads took, from the first request to the last answer.
        client_cpu: processor seconds that the client took for all of it.
    """

    intended: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    client_cpu: float = 0.0

    def add(self, intended: float, sent: float, ended: float, code: str) -> None:
        """Append one request."""
        self.intended.append(intended)
        self.sent.append(sent)
        self.ended.append(ended)
        self.codes.append(code)

    def latencies(self, codes: Sequence[str] = GOOD) -> NDArray[np.float64]:
        """Seconds from the intended start to the end, of the requests that got one of `codes`."""
        chosen = np.isin(self.codes, codes) if self.codes else np.zeros(0, bool)
        return (np.array(self.ended) - np.array(self.intended))[chosen]

    def summary(self) -> dict[str, Any]:
        """Requests per second and milliseconds of the good ones; what else came; what the client cost.

        `lag_p99_ms` is how late the client sent a request: where it is not far below the latencies, the
        client is what was measured.
        """
        good = self.latencies()
        lag = np.array(self.sent) - np.array(self.intended)
        return {
            "requests": len(self.codes),
            "codes": dict(Counter(self.codes)),
            "rps": len(good) / self.seconds if self.seconds else 0.0,
            **percentiles_ms(good),
            "client_ms": 1e3 * self.client_cpu / max(len(self.codes), 1),
            "lag_p99_ms": 1e3 * percentile(lag, 99),
        }


def merge(parts: Sequence[Samples]) -> Samples:
    """Several loads of one kind as one; times stay relative to the start of each."""
    whole = Samples()
    for part in parts:
        whole.intended += part.intended
        whole.sent += part.sent
        whole.ended += part.ended
        whole.codes += part.codes
        whole.seconds += part.seconds
        whole.client_cpu += part.client_cpu
    return whole


def percentiles_ms(seconds: NDArray[np.float64]) -> dict[str, float]:
    """The percentiles p50, p95 and p99 of latencies (n,) in seconds, as milliseconds; NaN for none."""
    return {f"p{percent}": 1e3 * percentile(seconds, percent) for percent in PERCENTS}


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """The smallest value that at least `percent` % of `values` (n,) do not exceed; NaN for none."""
    return float(np.percentile(values, percent, method="inverted_cdf")) if len(values) else float("nan")
