"""Runs a model dir on a GPU in fp16 and fp32: how far its answers are from the CPU's in fp32, and how fast.

    python -m benchmarks.gpu.precisions runs/demo/model

The photos are noise, for the engines are compared with each other and not with the truth: what may be served
is for `stocktake shelf precisions` and `stocktake bins precisions` to say, which see real ones. It takes an
environment with stocktake[predictor-gpu], and openvino for the CPU.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from stocktake.errors import ModelError, SettingsError
from stocktake.model_card import ModelCard
from stocktake.runner import Precision, Runner
from stocktake.runtime import load_runner


def main() -> None:
    """Load, compare, time, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="model dir")
    parser.add_argument("--batch", type=int, default=32, help="photos at once (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=50, help="timed batches (default: %(default)s)")
    options = parser.parse_args()
    size = ModelCard.read(options.model).input_size
    photos = np.random.default_rng(0).integers(0, 256, (options.batch, size, size, 3), np.uint8)
    expected = load_runner(options.model, ["fp32"], precision="fp32", engine="openvino").infer(photos)
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    for precision in precisions:
        try:
            runner = load_runner(options.model, [precision], precision=precision, engine="onnxruntime")
        except (ModelError, SettingsError) as error:
            print(f"{precision}: {error}")
            continue
        found = runner.infer(photos)
        gaps = ", ".join(f"{name} {gap(found[name], expected[name]):.2e}" for name in expected)
        seconds = time_batches(runner, photos, options.rounds)
        print(f"{runner}; largest gaps: {gaps}; {options.batch / seconds:,.0f} photos/s")


def gap(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference."""
    return float(np.abs(found - expected).max())


def time_batches(runner: Runner, photos: np.ndarray, rounds: int) -> float:
    """The median of the seconds that a batch takes."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        runner.infer(photos)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
