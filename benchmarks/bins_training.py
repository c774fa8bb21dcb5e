"""Seconds of a step of our training beside one of a bare loop of the same network on the same batches.

    python -m benchmarks.bins_training --photos 256 --img 128 --rounds 3

The bare loop has its batches in memory and does what learning needs and nothing else: forward, loss,
backward and a step of the same optimizer, through torchvision's network as it comes. Ours also reads,
augments, averages weights, sets the learning rate and looks at every loss; on a CPU it computes small maps in
a quicker way, so the ratio falls with --img. Both take their steps in turn, in one process, on equal threads;
the ratio is that of the medians. Beside it is the ratio of the processor's time, which a busy machine
disturbs less.
Goals: at most 1.03; photos waited for less than 5 % of the epoch; the same memory after every epoch.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from stocktake.bins.abid import ingest
from stocktake.bins.split import prepare
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.dataset import DatasetIndex
from stocktake.devices import let_threads_sleep, prepare_torch
from stocktake.synthetic.bins import write_dataset

GOAL = 1.03
WAIT_GOAL = 0.05


class Clock:
    """Seconds of each call, by the clock on the wall and of all cores."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def time(self, action: Callable[[], Any]) -> Any:
        """Call it; return what it returns."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = action()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return result


def main() -> None:
    """Draw, learn in turn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=256, help="train photos (default: %(default)s)")
    parser.add_argument("--img", type=int, default=128, help="px (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="photos in a step (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="epochs (default: %(default)s)")
    parser.add_argument("--amp", default="", help="mixed precision of both: bf16 or none")
    parser.add_argument("--device", default="cpu", help="cpu or a GPU's number (default: %(default)s)")
    options = parser.parse_args()
    let_threads_sleep()
    with tempfile.TemporaryDirectory(prefix="bins-training-") as folder:
        os.environ["STOCKTAKE_CACHE"] = f"{folder}/cache"
        compare(make_index(Path(folder), options.photos), options)


def make_index(folder: Path, photos: int) -> Path:
    """Drawn bins, at least `photos` of them to learn from."""
    write_dataset(folder / "bins", round(photos * 1.4), progress=False)
    ingest(str(folder / "bins"), folder / "ingest", progress=False)
    prepare(folder / "ingest/index.parquet", folder / "prepared")
    index = DatasetIndex.read(folder / "prepared/index.parquet")
    train = index.split("train")[:photos]
    index.photos = [*train, *index.split("val")[:8]]
    index.write(folder / "index.parquet")
    return folder / "index.parquet"


def compare(index_path: Path, options: argparse.Namespace) -> None:
    """Learn in turn; print the ratio, the waiting and the memory."""
    import torch

    from stocktake.bins.rank import make_trainer

    settings = BinTrainSettings(
        weights="none",
        img=options.img,
        batch_size=options.batch,
        epochs=options.rounds + 1,
        amp=options.amp,
        device=options.device,
    )
    prepare_torch()
    device = "cpu" if options.device == "cpu" else f"cuda:{options.device}"
    classes = tuple(DatasetIndex.read(index_path).metadata["classes"])
    arguments = {"index": str(index_path), "classes": classes, "start": None}
    ours, bare = (make_trainer(arguments, settings, device, None) for _ in range(2))
    clocks = Clock(), Clock()
    waits, memory = [], []
    for epoch in range(1, options.rounds + 2):  # the first is a warm-up
        if epoch == 2:
            clocks = Clock(), Clock()
        pair_steps(ours, bare, epoch, *clocks)
        waits.append(ours.learn(epoch)["loader_wait"])
        memory.append(psutil.Process().memory_info().rss / 2**20)
        print(f"epoch {epoch}: waited {waits[-1]:.2%}, memory {memory[-1]:.0f} MB", flush=True)
    wall = [statistics.median(clock.wall) for clock in clocks]
    cpu = [statistics.median(clock.cpu) for clock in clocks]
    growth = memory[-1] / memory[1] - 1
    print(
        f"{len(ours.train)} drawn photos at {options.img} px, batch {options.batch}, {device}"
        f" {options.amp or 'fp32'}, {torch.get_num_threads()} threads, median of {len(clocks[0].wall)} steps:"
        f" bare {wall[1]:.3f} s, ours {wall[0]:.3f} s, ratio {wall[0] / wall[1]:.3f} (goal: at most {GOAL});"
        f" of processor time {cpu[0] / cpu[1]:.3f};"
        f" photos waited for {statistics.median(waits):.2%} of the epoch (goal: below {WAIT_GOAL:.0%});"
        f" memory {growth:+.1%} from the second epoch to the last of {len(memory)}"
    )


def pair_steps(ours: Any, bare: Any, epoch: int, our_clock: "Clock", bare_clock: "Clock") -> None:
    """Go through an epoch; each of its batches is a step of ours and one of the bare loop, in turn."""
    from stocktake.bins.loading import epoch_rows, make_batch, read_ahead

    settings = ours.settings
    rows = epoch_rows(len(ours.train), settings.batch_size, settings.seed, epoch)
    batches = [make_batch(bare.train, number, part) for number, part in enumerate(rows)]
    read = read_ahead(
        lambda number: make_batch(ours.train, number, rows[number], 0, epoch, settings.augment), len(rows), 1
    )
    for model in (ours.network, bare.network):
        model.train()
    for batch in batches:
        turns = [
            lambda: our_clock.time(lambda: ours.step(next(read), epoch)),
            lambda batch=batch: bare_clock.time(lambda: bare_step(bare, batch)),
        ]
        for turn in turns if batch.number % 2 else reversed(turns):
            turn()


def bare_step(trainer: Any, batch: Any) -> None:
    """What learning needs, and nothing else."""
    import torch

    from stocktake.bins.measuring import AMP_TYPES

    images, targets = trainer.passes.load(batch)
    amp = AMP_TYPES.get(trainer.settings.amp)
    with torch.autocast(trainer.passes.device.type, amp, enabled=amp is not None):
        logits = trainer.network(images)
    loss = trainer.network.loss(logits.float(), targets)
    loss.backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    loss.item()  # waits for a GPU, so that the clock does


if __name__ == "__main__":
    main()
