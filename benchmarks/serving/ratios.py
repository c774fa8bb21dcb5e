"""From what `compare` has measured to ratios: ours over the limit, over the peers, over an ideal queue."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.servers import TUTORIAL

OVER_LIMIT, OVER_CALL, OVER_IDEAL, OVER_CALL_HALF = 0.90, 1.15, 1.2, 6.0
OVER_TUTORIAL = {"int8": 4.0, "bf16": 2.8}
OVER_USUAL = {"int8": 2.9, "bf16": 1.9}
OVER_SAME, OVER_SAME_ALONE = 1.0, 1.05

Found = Mapping[str, Any]  # results["models"][model]


@dataclass(frozen=True)
class Ratio:
    """One ratio: the median of the rounds, and the lowest and highest."""

    what: str
    value: float
    low: float
    high: float
    goal: float | None = None
    at_most: bool = False  # the goal is an upper limit

    @property
    def met(self) -> str:
        """yes, no, or nothing where there is no goal."""
        if self.goal is None:
            return ""
        return "yes" if (self.value <= self.goal if self.at_most else self.value >= self.goal) else "no"


def ratios(found: Found) -> list[Ratio]:
    """All ratios of one model for which something was measured."""
    return [
        ratio
        for group in (_over_limit, _open_loop, _over_peers)
        for ratio in group(found)
        if ratio.value == ratio.value  # a server that answered nothing makes NaN
    ]


def _over_limit(found: Found) -> Iterator[Ratio]:
    for precision, limits in found["limit"].items():
        if not limits:
            continue
        ours = f"ours {precision}"
        bare = [1e3 * statistics.median(limit["alone_s"]) for limit in limits]
        for concurrency in _loaded(found):
            bound = [limit["rps"] for limit in limits]
            rates = _rounds(found, ours, concurrency, "rps")
            what = f"{ours}, c={concurrency}: requests per second over the limit"
            yield _paired(what, rates, bound, OVER_LIMIT)
        if "1" in found["servers"][ours]:
            what = f"{ours}, c=1: p50 over the bare call"
            yield _paired(what, _rounds(found, ours, "1", "p50"), bare, OVER_CALL, at_most=True)


def _open_loop(found: Found) -> Iterator[Ratio]:
    for name, shares in found["open"].items():
        limits = found["limit"][name.removeprefix("ours ")]
        bare = 1e3 * statistics.median([second for limit in limits for second in limit["alone_s"]])
        for share, point in shares.items():
            percent = f"{float(share):.0%}"
            goal = OVER_CALL_HALF if share == "0.5" else None
            yield _single(f"{name}, open at {percent}: p99 over the bare call", point["p99"] / bare, goal)
            goal = OVER_IDEAL if share == "0.8" else None
            over = point["p99"] / point["ideal_p99"]
            yield _single(f"{name}, open at {percent}: p99 over the ideal queue's", over, goal)


def _over_peers(found: Found) -> Iterator[Ratio]:
    default = found["default"]
    ours = f"ours {default}"
    usual = [name for name in found["servers"] if name.endswith(" usual")]
    same = [name for name in found["servers"] if name.endswith(" same")]
    for concurrency in found["servers"][ours]:
        loaded = concurrency != "1"
        rivals: list[tuple[str, list[str], float | None]] = [
            ("", [TUTORIAL] if TUTORIAL in found["servers"] else [], OVER_TUTORIAL.get(default)),
            ("best peer in its usual set-up, ", usual, OVER_USUAL.get(default)),
            ("best peer on the same engine, ", same, OVER_SAME if loaded else OVER_SAME_ALONE),
        ]
        for kind, names, goal in rivals:
            if names:
                best = max(names, key=lambda name: _median(found, name, concurrency))
                what = f"{ours}, c={concurrency}: requests per second over {kind}{best}"
                rates = _rounds(found, best, concurrency, "rps")
                yield _paired(what, _rounds(found, ours, concurrency, "rps"), rates, goal)


def _rounds(found: Found, name: str, concurrency: str, figure: str) -> list[float]:
    return [summary[figure] for summary in found["servers"][name][concurrency]]


def _median(found: Found, name: str, concurrency: str) -> float:
    return statistics.median(_rounds(found, name, concurrency, "rps") or [0.0])


def _loaded(found: Found) -> list[str]:
    first: Mapping[str, Any] = next(iter(found["servers"].values()))
    return [concurrency for concurrency in first if concurrency != "1"]


def _paired(
    what: str, ours: Sequence[float], theirs: Sequence[float], goal: float | None, at_most: bool = False
) -> Ratio:
    each = [a / b if b else float("nan") for a, b in zip(ours, theirs, strict=False)] or [float("nan")]
    return Ratio(what, statistics.median(each), min(each), max(each), goal, at_most)


def _single(what: str, value: float, goal: float | None) -> Ratio:
    return Ratio(what, value, value, value, goal, at_most=True)
