"""The settings of a training, checked before any work is done."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from stocktake.devices import gpu_devices
from stocktake.setting_checks import (
    MAX_SEED,
    expect,
    expect_choice,
    expect_devices,
    expect_folder_name,
    expect_whole,
    split_devices,
)

IMAGENET = "imagenet"
SCRATCH = ("", "none", "scratch")
LEAST_PER_DEVICE = 4  # photos of a step; batch normalisation needs more than one even in a short last batch

Optimizer = Literal["adamw", "sgd"]
Amp = Literal["", "bf16", "fp16"]
HeadName = Literal["softmax", "ordinal"]
HEADS: tuple[str, ...] = get_args(HeadName)
DEFAULTS: dict[str, tuple[float, float]] = {"adamw": (3e-4, 0.05), "sgd": (0.02, 5e-4)}  # lr, weight decay

# where and how, not what is learnt
_ELSEWHERE = ("device", "squares", "test_batch_size", "project", "name", "resume")


@dataclass(frozen=True, slots=True)
class BinTrainSettings:
    """How a bin counter is trained; impossible values raise SettingsError when one is made.

    lr, batch_size, epochs and test_batch_size are the names under which Udacity's starter passes them.
    """

    weights: str = IMAGENET  # 'imagenet', the path of a checkpoint or of torchvision's ResNet50, or 'none'
    freeze: bool = False  # train the head alone
    head: HeadName = "softmax"
    img: int = 224  # side in px of the square that photos are fitted into
    epochs: int = 20
    batch_size: int = 32  # photos in a step, over all devices
    test_batch_size: int = 100  # photos at once where nothing is learnt, on each device
    optimizer: Optimizer = "adamw"
    lr: float | None = None  # highest of the schedule; None = by the optimizer
    weight_decay: float | None = None  # of weights, not of biases and normalisation; None = by the optimizer
    warmup: float = 1.0  # epochs over which lr rises from 0, before it falls along a cosine
    ema: float = 0.998  # decay of the average of weights that is measured and kept; 0 = none
    augment: float = 1.0  # strength of colour and blur, and whether photos are mirrored: 0 = as they are
    amp: Amp = ""  # mixed precision: bf16 (GPU, or a CPU that has it), fp16 (GPU)
    patience: int = 10  # stop after this many epochs without improvement
    seed: int = 0
    # '' = a GPU if there is one; 'cpu'; '0'; '0,1' = two ranks; 'cpu,cpu' = two ranks on CPU
    device: str = ""
    squares: str = (
        ""  # decoded photos: 'disk' = kept in the cache, 'off' = decoded each time, '' = by the room
    )
    project: str = "runs/bins"  # folder of runs
    name: str = "exp"  # of this run; exp2, exp3 … where it is taken
    resume: bool = True  # continue a run of the same settings and photos that was stopped

    def __post_init__(self) -> None:
        expect_choice("head", self.head, HEADS)
        expect_choice("optimizer", self.optimizer, get_args(Optimizer))
        expect_choice("amp", self.amp, get_args(Amp))
        expect_choice("squares", self.squares, ("", "disk", "off"))
        expect(not (self.freeze and self.is_scratch), "freeze", self.freeze, "off where weights is 'none'")
        expect_whole("img", self.img, 32, 4096)
        expect_whole("epochs", self.epochs, 1, 100_000)
        expect_whole("batch_size", self.batch_size, 1, 65536)
        expect_whole("test_batch_size", self.test_batch_size, 1, 65536)
        expect(0 < self.peak_lr <= 10, "lr", self.lr, "over 0 and at most 10")
        expect(0 <= self.decay <= 10, "weight_decay", self.weight_decay, "in 0..10")
        expect(0 <= self.warmup < math.inf, "warmup", self.warmup, "0 or more epochs")
        expect(0 <= self.ema < 1, "ema", self.ema, "at least 0 and below 1")
        expect(0 <= self.augment <= 2, "augment", self.augment, "in 0..2")
        expect_whole("patience", self.patience, 1, 100_000)
        expect_whole("seed", self.seed, 0, MAX_SEED)
        expect_folder_name("name", self.name)
        expect_devices(self.device)
        self._check_batch()

    @classmethod
    def on_gpus(cls, gpus: int, changes: Mapping[str, Any] | None = None, **values: Any) -> Self:
        """Settings as pipelines pass them: see `gpu_devices`; `changes` win over the other `values`.

        Whole numbers of `changes` may be floats: that is what Kubeflow makes of all numbers in an object.
        """
        whole = {field.name for field in fields(cls) if type(field.default) is int}
        given = {**values, **(changes or {})}
        for name in whole & given.keys():
            if isinstance(given[name], float) and given[name].is_integer():
                given[name] = int(given[name])
        return cls(**given, device=gpu_devices(gpus))

    @property
    def peak_lr(self) -> float:
        """`lr`, or the optimizer's default."""
        return DEFAULTS[self.optimizer][0] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        """`weight_decay`, or the optimizer's default."""
        return DEFAULTS[self.optimizer][1] if self.weight_decay is None else self.weight_decay

    @property
    def is_scratch(self) -> bool:
        """Whether it starts from no weights."""
        return self.weights in SCRATCH

    @property
    def devices(self) -> list[str]:
        """One entry per rank; [''] = let the trainer choose."""
        return split_devices(self.device)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the weights that come out: two runs of one identity are one run that was stopped."""
        return {key: value for key, value in asdict(self).items() if key not in _ELSEWHERE}

    def _check_batch(self) -> None:
        ranks = len(self.devices)
        least = LEAST_PER_DEVICE * ranks
        where = "" if ranks == 1 else f" for {ranks} devices"
        expect(self.batch_size >= least, "batch_size", self.batch_size, f"at least {least}{where}")
        expect(self.batch_size % ranks == 0, "batch_size", self.batch_size, f"a multiple of {ranks} devices")
