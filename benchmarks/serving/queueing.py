"""The best that any server with these cores could do with random arrivals: an ideal queue, simulated.

Whatever waits is served in the order in which it came and costs what the bare model costs; nothing else
costs anything. The layout is ours: where nothing runs and one request waits, it runs alone on all cores, and
whoever comes meanwhile waits for its end; else they run side by side, one on each lane.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.samples import percentile

Seconds = NDArray[np.float64]


def simulate(
    arrivals: Seconds, lane_s: Seconds, lanes: int, alone_s: Seconds | None = None, seed: int = 0
) -> Seconds:
    """Latencies (n,) of requests that come at `arrivals` (n,), ascending.

    Args:
        arrivals: s from the start.
        lane_s: measured seconds of single photos on one lane while the others work; drawn from at random.
        lanes: how many there are.
        alone_s: measured seconds on all cores. None is the plain queue M/G/k: nothing ever runs alone.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    shared = rng.choice(lane_s, len(arrivals))
    alone = None if alone_s is None else rng.choice(alone_s, len(arrivals))
    free = [0.0] * lanes  # when each lane is free, a heap
    ends = np.empty(len(arrivals))
    nexts = np.append(arrivals[1:], np.inf).tolist()
    for number, arrival in enumerate(arrivals.tolist()):
        begin = max(arrival, free[0])
        if alone is not None and max(free) <= begin < nexts[number]:
            ends[number] = begin + alone[number]
            free = [float(ends[number])] * lanes
        else:
            ends[number] = begin + shared[number]
            heapq.heapreplace(free, float(ends[number]))
    return ends - arrivals


def ideal_p99(
    runs: Sequence[Seconds], lane_s: Seconds, lanes: int, alone_s: Seconds | None, repeats: int = 20
) -> float:
    """The 99th percentile in s of the ideal queue, for the very arrivals of some measured loads.

    Args:
        runs: the arrivals of each load.
        lane_s: as in `simulate`, likewise `lanes` and `alone_s`.
        repeats: how often service times are drawn anew; the mean of their percentiles is taken.
    """
    found = []
    for seed in range(repeats):
        latencies = [
            simulate(arrivals, lane_s, lanes, alone_s, seed=1000 * seed + number)
            for number, arrivals in enumerate(runs)
        ]
        found.append(percentile(np.concatenate(latencies), 99))
    return float(np.mean(found))
