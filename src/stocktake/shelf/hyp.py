"""Hyper-parameter files: ours by name (low, med, high, quick), or a file in YOLOv5's classic form."""

import logging
import math
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from stocktake.errors import SettingsError
from stocktake.files import read_yaml

log = logging.getLogger(__name__)

_NO_SUCH_TERM = "the anchor-free head of today's YOLOv5 has no such term"
_OTHER_SCALE = "the losses are scaled otherwise today; the default is kept"
CLASSIC_ONLY = {
    "obj": _NO_SUCH_TERM,
    "obj_pw": _NO_SUCH_TERM,
    "anchor_t": _NO_SUCH_TERM,
    "anchors": _NO_SUCH_TERM,
    "iou_t": "targets are assigned by task alignment, not by a threshold on IoU",
    "fl_gamma": "the class loss has no focal term",
}
CLASSIC_OTHERWISE = {
    "box": _OTHER_SCALE,
    "cls": _OTHER_SCALE,
    "cls_pw": "it weighs classes today, and we have one",
}
WITHOUT_EFFECT = {"copy_paste": "it needs outlines, and shelf labels are boxes"}

_SHARES = (0.0, 1.0)
_ANY = (0.0, math.inf)
LIMITS = {
    "lr0": (1e-8, 1.0),
    "lrf": _SHARES,
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 1.0),
    "warmup_epochs": _ANY,
    "warmup_momentum": _SHARES,
    "warmup_bias_lr": _ANY,
    "box": _ANY,
    "cls": _ANY,
    "dfl": _ANY,
    "hsv_h": _SHARES,
    "hsv_s": _SHARES,
    "hsv_v": _SHARES,
    "degrees": (0.0, 180.0),
    "translate": _SHARES,
    "scale": _SHARES,
    "shear": (0.0, 180.0),
    "perspective": (0.0, 0.001),
    "flipud": _SHARES,
    "fliplr": _SHARES,
    "mosaic": _SHARES,
    "mixup": _SHARES,
}
OPTIMIZERS = ("SGD", "MuSGD", "Adam", "AdamW", "auto")
CHOICES: dict[str, tuple[Any, ...]] = {
    "optimizer": OPTIMIZERS,
    "accumulate": (True, False),  # gradients of small batches, up to 64 photos, before a step, as YOLOv5 does
}


@dataclass(frozen=True, slots=True)
class Hyp:
    """Hyper-parameters that the trainer takes, and those of the file that it has no use for."""

    values: dict[str, Any]
    ignored: dict[str, str] = field(default_factory=dict)  # key -> reason


def hyp_names() -> list[str]:
    """The names of the files that come with stocktake."""
    folder = resources.files("stocktake.shelf").joinpath("hyp")
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_hyp(name: str) -> Hyp:
    """Read one of our files by name, or any file by path, and check every value.

    Keys of classic YOLOv5 that mean something else today, or nothing, are logged and left out.

    Raises:
        SettingsError: there is no such file, it can't be read, a key is unknown or a value impossible.
    """
    if name in hyp_names():
        with resources.as_file(resources.files("stocktake.shelf").joinpath(f"hyp/{name}.yaml")) as path:
            found = _read(path)
    elif Path(name).is_file():
        found = _read(Path(name))
    else:
        raise SettingsError(
            f"hyp is {name!r}; give one of {', '.join(hyp_names())} or the path of a YAML file"
        )
    hyp = _sort_out(name, found)
    for key, reason in hyp.ignored.items():
        log.warning("hyp %s: %s has no effect: %s", name, key, reason)
    return hyp


def check_value(name: str, key: str, value: Any) -> None:
    """Raise SettingsError unless `value` is possible for the hyper-parameter `key` of the file `name`."""
    if key in CHOICES:
        if value not in CHOICES[key]:
            choices = ", ".join(map(str, CHOICES[key]))
            raise SettingsError(f"hyp {name}: {key} is {value!r}; choose one of {choices}")
        return
    if key not in LIMITS:
        raise SettingsError(f"hyp {name}: unknown key {key!r}; there are {', '.join([*CHOICES, *LIMITS])}")
    lowest, highest = LIMITS[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not lowest <= value <= highest:
        raise SettingsError(f"hyp {name}: {key} is {value!r}; it must be a number in {lowest:g}..{highest:g}")


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path, SettingsError)
    except SettingsError as error:
        raise SettingsError(f"hyp {error}") from error


def _sort_out(name: str, found: dict[str, Any]) -> Hyp:
    is_classic = bool(CLASSIC_ONLY.keys() & found.keys())
    reasons = {**CLASSIC_ONLY, **WITHOUT_EFFECT, **(CLASSIC_OTHERWISE if is_classic else {})}
    values = {key: value for key, value in found.items() if key not in reasons}
    for key, value in values.items():
        check_value(name, key, value)
    if is_classic:
        values.setdefault("optimizer", "SGD")  # the classic default; "auto" would override lr0 and momentum
    return Hyp(values, {key: reasons[key] for key in found if key in reasons})
