"""The photos of a day: when those of all shops reach the predictor.

A shop's cameras all shoot when its clock says so, and a manager walks round twice. Photos leave a shop one
after the other over its uplink, so a quarter of an hour's photos of one shop come as a train, not at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.scaling.parameters import Parameters

Seconds = NDArray[np.float64]
HOUR = 3600.0
DAY = 24 * HOUR


def day(parameters: Parameters, seed: int) -> Seconds:
    """Arrivals of all photos in s from midnight, ascending; those of another day are left out."""
    rng = np.random.default_rng(seed)
    told = parameters.day
    opens = rng.normal(told.opens_h, told.hours_sd_h, told.shops) * HOUR
    closes = rng.normal(told.closes_h, told.hours_sd_h, told.shops) * HOUR
    morning = opens + rng.normal(told.morning_round_h, told.round_sd_h, told.shops) * HOUR
    evening = rng.normal(told.evening_round_h, told.round_sd_h, told.shops) * HOUR
    trains = []
    for shop in range(told.shops):
        clicks = np.concatenate(
            [
                _cameras(parameters, rng, opens[shop], closes[shop]),
                _round(parameters, rng, morning[shop]),
                _round(parameters, rng, evening[shop]),
            ]
        )
        trains.append(over_uplink(np.sort(clicks), told.uplink_photos_per_s))
    arrivals = np.sort(np.concatenate(trains))
    return arrivals[(arrivals >= 0) & (arrivals < DAY)]


def poisson(rate: float, seconds: float, seed: int) -> Seconds:
    """Arrivals at random, `rate` in 1/s, as theory likes them."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def over_uplink(clicks: Seconds, photos_per_s: float) -> Seconds:
    """When photos taken at `clicks`, ascending, have left a line that sends one after the other."""
    sending = 1 / photos_per_s
    order = np.arange(len(clicks))
    # The end of each is that of the one before, or its own click, plus sending: a running maximum.
    return np.maximum.accumulate(clicks - order * sending) + (order + 1) * sending


def _cameras(parameters: Parameters, rng: np.random.Generator, opens: float, closes: float) -> Seconds:
    told = parameters.day
    delay = rng.uniform(0, told.camera_spread_s)
    shots = np.arange(
        np.ceil(opens / told.camera_period_s) * told.camera_period_s, closes, told.camera_period_s
    )
    return np.repeat(shots + delay, told.cameras)


def _round(parameters: Parameters, rng: np.random.Generator, begins: float) -> Seconds:
    told = parameters.day
    return begins + rng.exponential(told.round_photo_s, told.round_photos).cumsum()
