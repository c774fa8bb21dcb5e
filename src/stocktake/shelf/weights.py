"""What a training starts from: COCO weights, the starter weights, a checkpoint of one's own, or nothing."""

import logging
import re
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from stocktake.downloads import download
from stocktake.errors import ModelError, SettingsError
from stocktake.files import explain_os_error, sha256_file

log = logging.getLogger(__name__)

SIZES = "nsmlx"
SCRATCH = ("", "scratch")
STARTER = "starter"
STARTER_SIZE = "n"
STARTER_NAME = "yolov5nu.pt"
COCO_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0/{name}"
_COCO_NAME = re.compile(rf"yolov5([{SIZES}])u?(?:\.pt)?")
_TAKEN_NAME = re.compile(r"yolov(?:5[nsmlx]6?|3(?:-tiny|-spp)?)\.pt$")  # it appends a u and looks for that


@dataclass(frozen=True, slots=True)
class Start:
    """Where a training starts. `model` is what ultralytics takes: a checkpoint's path or a network's name."""

    model: str
    description: str

    @property
    def identity(self) -> str:
        """The same for the same weights, wherever they lie."""
        return sha256_file(self.checkpoint) if self.checkpoint else self.model

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint, None from scratch."""
        return Path(self.model) if self.model.endswith(".pt") else None


def resolve_weights(weights: str, size: str, cache_dir: Path) -> Start:
    """Find the weights that a user named.

    Args:
        weights: `yolov5s.pt` or `yolov5su.pt` for COCO weights (downloaded once into `cache_dir`/weights),
            `starter` for the small ones that come with stocktake, the path of a checkpoint, `scratch` or
            nothing for none.
        size: n, s, m, l or x, the size of the network where `weights` are none; "" = s.
        cache_dir: where downloads are kept.

    Raises:
        SettingsError, ModelError: as `check_weights` does.
    """
    check_weights(weights, size)
    if weights in SCRATCH:
        return _scratch(size or "s")
    if weights == STARTER:
        return Start(str(starter_path()), "starter weights, trained on drawn shelves")
    path = Path(weights).expanduser()
    if path.is_file():
        return Start(str(path), f"weights {path.name}")
    return _coco(weights.removeprefix("yolov5")[0], cache_dir)


def check_weights(weights: str, size: str) -> None:
    """Refuse what `resolve_weights` would refuse, without a download.

    Raises:
        SettingsError: there is no such name or file, or `size` contradicts it.
        ModelError: a file is not a checkpoint that can be trained on.
    """
    path = Path(weights).expanduser()
    if weights in SCRATCH:
        return
    if weights == STARTER:
        _check_size(weights, STARTER_SIZE, size)
        check_checkpoint(starter_path())
    elif path.is_file():
        check_checkpoint(path)
        if _TAKEN_NAME.search(path.name):
            raise ModelError(
                f"{path}: ultralytics takes this name for another model's; rename the file, to best.pt say"
            )
    elif found := _COCO_NAME.fullmatch(weights):
        _check_size(weights, found.group(1), size)
    else:
        names = ", ".join(f"yolov5{letter}.pt" for letter in SIZES)
        raise SettingsError(
            f"weights is {weights!r}; give the path of a checkpoint or one of {names}, starter, scratch"
        )


def starter_path() -> Path:
    """The starter weights that come with stocktake."""
    return Path(str(resources.files("stocktake.shelf").joinpath("starter", STARTER_NAME)))


def check_checkpoint(path: Path) -> Path:
    """Return `path` if it is a checkpoint that ultralytics can train on; nothing in it is run to find out.

    Raises:
        ModelError: it is damaged, or was made by the classic YOLOv5 repository or by something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            pickle = archive.read(pickles[0]) if pickles else b""
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(
            f"{path}: not a PyTorch checkpoint, or a damaged one ({error}); fetch it again"
        ) from error
    if b"ultralytics.nn.tasks" in pickle:
        return path
    if b"models.yolo" in pickle:
        raise ModelError(
            f"{path}: a checkpoint of the classic YOLOv5 repository, whose anchor heads and pickled code"
            " cannot be loaded here; start from yolov5s.pt (which means yolov5su) or train it again"
        )
    raise ModelError(
        f"{path}: a PyTorch file that holds no ultralytics detector; start from yolov5s.pt or starter"
    )


def _scratch(size: str) -> Start:
    return Start(f"yolov5{size}.yaml", f"YOLOv5{size} from scratch")


def _check_size(weights: str, actual: str, wanted: str) -> None:
    if wanted and wanted != actual:
        raise SettingsError(
            f"weights is {weights!r}, a YOLOv5{actual}, but model is {wanted!r}; name only one of them"
        )


def _coco(size: str, cache_dir: Path) -> Start:
    name = f"yolov5{size}u.pt"
    target = cache_dir / "weights" / name
    try:
        if not target.is_file():
            download(COCO_URL.format(name=name), target)
    except OSError as error:  # urllib's URLError is one; no route, no such host, a timeout, 404
        hint = (
            "; `--weights starter` learns faster"
            if size == STARTER_SIZE
            else "; a model n could use `starter`"
        )
        reason = getattr(error, "reason", None) or explain_os_error(error, target)
        log.warning(
            "COCO weights %s cannot be downloaded (%s): training starts from scratch%s", name, reason, hint
        )
        return _scratch(size)
    return Start(str(check_checkpoint(target)), f"COCO weights {name}")
