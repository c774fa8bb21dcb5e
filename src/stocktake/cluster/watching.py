"""What a candidate does with real requests: its error rate and 99th percentile, from its pods' /metrics."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stocktake.cluster.predictor_client import PredictorClient
from stocktake.errors import StoreError

# What is our fault, over HTTP and over gRPC; a client's mistake says nothing of the model.
ERROR_CODES = frozenset(
    {"500", "501", "502", "503", "504", "INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
)
ENOUGH = 20  # answers, to give up before the time is over

Counts = dict[tuple[str, str], float]  # by what is counted, and its code or upper bound


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate must not exceed: share of errors, and seconds that 99 % of answers stay below."""

    error_rate: float
    p99_s: float


@dataclass(slots=True)
class Traffic:
    """What the replicas of one model have done since the first look at each."""

    model: str
    unseen: bool = False  # no replica said anything when it was last looked at
    _first: dict[str, Counts] = field(default_factory=dict)
    _last: dict[str, Counts] = field(default_factory=dict)

    def look(self, clients: Sequence[PredictorClient]) -> None:
        """Read the metrics of the replicas; one that is gone keeps its last figures."""
        fresh = not self._first  # what appears later has done all of it since
        self.unseen = True
        for client in clients:
            try:
                counts = self._counts(client.metrics())
            except StoreError:
                continue
            self.unseen = False
            self._first.setdefault(client.url, counts if fresh else {})
            if sum(counts.values()) < sum(self._first[client.url].values()):  # started again
                self._first[client.url] = {}
            self._last[client.url] = counts

    @property
    def answers(self) -> int:
        """Requests answered, errors too."""
        return round(sum(self._since("code").values()))

    @property
    def error_rate(self) -> float:
        """Share of the answers that were our fault; 0 where there was none."""
        errors = sum(count for code, count in self._since("code").items() if code in ERROR_CODES)
        return errors / self.answers if self.answers else 0.0

    @property
    def p99_s(self) -> float:
        """Upper bound of the bucket that the 99th percentile of good answers is in; 0 without any."""
        buckets = sorted((float(bound), count) for bound, count in self._since("le").items())
        if not buckets or not buckets[-1][1]:
            return 0.0
        wanted = 0.99 * buckets[-1][1]
        return next(bound for bound, count in buckets if count >= wanted)

    def excess(self, limits: Limits, over: bool) -> str:
        """Which limit is exceeded; empty where none is. Before it is `over`, a few answers decide nothing."""
        if not over and self.answers < ENOUGH:
            return ""
        if self.error_rate > limits.error_rate:
            return (
                f"{self.error_rate:.1%} of {self.answers} answers were errors, over {limits.error_rate:.1%}"
            )
        if self.p99_s > limits.p99_s:
            return f"the 99th percentile of {self.answers} answers is over {limits.p99_s:g} s"
        return ""

    def __str__(self) -> str:
        if not self.answers:
            return "no request came, so there is nothing to judge by"
        slowest = f"99 % within {self.p99_s:g} s" if math.isfinite(self.p99_s) else "some over 30 s"
        return f"{self.answers} answers, {self.error_rate:.1%} errors, {slowest}"

    def _counts(self, metrics: Iterable[tuple[str, dict[str, str], float]]) -> Counts:
        counts: Counts = {}
        for name, labels, value in metrics:
            kind = {"stocktake_requests_total": "code", "stocktake_request_seconds_bucket": "le"}.get(name)
            if kind and labels.get("model") == self.model:
                key = (kind, labels[kind])
                counts[key] = counts.get(key, 0) + value
        return counts

    def _since(self, kind: str) -> dict[str, float]:
        total: dict[str, float] = {}
        for url, counts in self._last.items():
            for (each, label), value in counts.items():
                if each == kind:
                    total[label] = total.get(label, 0) + value - self._first[url].get((each, label), 0)
        return total
