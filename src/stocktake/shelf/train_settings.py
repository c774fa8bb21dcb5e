"""The settings of a training, checked before any work is done."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from stocktake.setting_checks import (
    MAX_SEED,
    expect,
    expect_devices,
    expect_folder_name,
    expect_whole,
    split_devices,
)
from stocktake.shelf.hyp import OPTIMIZERS
from stocktake.shelf.weights import SIZES

STRIDE = 32  # the coarsest grid of YOLOv5; the side of a photo is a multiple of it
LAYERS = 24  # before the head, in every size of YOLOv5
NMS_IOU = 0.6  # of the detector that is served, and hence of every measurement
CACHES = ("", "ram", "disk")

_ELSEWHERE = ("device", "workers", "cache", "project", "name", "resume")  # where and how, not what is learnt


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What YOLOv5's train.py takes, by its names; impossible values raise SettingsError when one is made."""

    weights: str = "yolov5s.pt"  # COCO weights, a checkpoint's path, 'starter', or 'scratch' (also '')
    model: str = ""  # n, s, m, l or x, where weights are none; '' = s
    epochs: int = 100
    hours: float | None = None  # wall clock; overrides epochs, and the learning rate ends in time
    img: int = 640  # side in px of the square that photos are fitted into
    batch: int = 16  # photos in a step, over all devices; -1 = what fits into the GPU
    cache: str = ""  # keep decoded photos in 'ram' or on 'disk'
    freeze: int = 0  # layers that are not trained; 10 = the backbone
    hyp: str = "low"  # low, med, high, quick, or a file
    optimizer: str | None = None  # overrides the hyp file
    lr0: float | None = None
    patience: int = 100  # stop after this many epochs without improvement
    # '' = a GPU if there is one; 'cpu'; '0'; '0,1' = two ranks; 'cpu,cpu' = two ranks on CPU
    device: str = ""
    workers: int | None = None  # loading processes of each rank; None = by the cores
    seed: int = 0
    amp: bool = True  # mixed precision on GPU
    project: str = "runs/train"  # folder of runs
    name: str = "exp"  # of this run; exp2, exp3 … where it is taken
    resume: bool = True  # continue a run of the same settings and photos that was stopped

    def __post_init__(self) -> None:
        expect(self.model in ("", *SIZES), "model", self.model, f"one of {', '.join(SIZES)}")
        expect_whole("epochs", self.epochs, 1, 100_000)
        expect(self.hours is None or 0 < self.hours < math.inf, "hours", self.hours, "over 0, or None")
        expect_whole("img", self.img, STRIDE, 4096)
        low = self.img // STRIDE * STRIDE
        expect(low == self.img, "img", self.img, f"a multiple of {STRIDE}: try {low} or {low + STRIDE}")
        if self.batch != -1:
            expect_whole("batch", self.batch, 1, 65536, "; or -1 for what fits")
        expect(self.cache in CACHES, "cache", self.cache, "'ram', 'disk' or ''")
        expect_whole("freeze", self.freeze, 0, LAYERS)
        known = self.optimizer is None or self.optimizer in OPTIMIZERS
        expect(known, "optimizer", self.optimizer, f"one of {', '.join(OPTIMIZERS)}")
        expect(self.lr0 is None or 0 < self.lr0 <= 1, "lr0", self.lr0, "over 0 and at most 1")
        expect_whole("patience", self.patience, 1, 100_000)
        if self.workers is not None:
            expect_whole("workers", self.workers, 0, 1024)
        expect_whole("seed", self.seed, 0, MAX_SEED)
        expect_folder_name("name", self.name)
        expect_devices(self.device)
        ranks = len(self.devices)
        even = ranks == 1 or (self.batch % ranks == 0 and self.batch > 0)
        expect(even, "batch", self.batch, f"a multiple of the {ranks} devices")

    @property
    def devices(self) -> list[str]:
        """One entry per rank; [''] = let the trainer choose."""
        return split_devices(self.device)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the weights that come out: two runs of one identity are one run that was stopped."""
        return {key: value for key, value in asdict(self).items() if key not in _ELSEWHERE}
