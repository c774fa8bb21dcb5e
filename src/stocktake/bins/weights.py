"""What a training of the bin counter starts from: ImageNet weights, a file of one's own, or nothing."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stocktake.bins.train_settings import IMAGENET, SCRATCH
from stocktake.downloads import download
from stocktake.errors import ModelError, SettingsError
from stocktake.files import explain_os_error, sha256_file

if TYPE_CHECKING:
    from stocktake.bins.network import BinNetwork

log = logging.getLogger(__name__)

CLASSIFIER = "fc."  # the last layer of torchvision's ResNet50, which ours replaces

OURS = {
    "state",
    "classes",
    "head",
}  # what a checkpoint of `stocktake bins train` has, and a state dict has not


@dataclass(frozen=True, slots=True)
class Start:
    """Where a training starts; `checkpoint` is None from scratch."""

    checkpoint: Path | None
    description: str

    @property
    def identity(self) -> str:
        """The same for the same weights, wherever they lie."""
        return sha256_file(self.checkpoint) if self.checkpoint else "scratch"


def resolve_weights(weights: str, cache_dir: Path) -> Start:
    """Find the weights that a user named; a training never starts from others than these.

    Args:
        weights: `imagenet` for torchvision's ResNet50 (IMAGENET1K_V2, downloaded once into
            `cache_dir`/weights), the path of a checkpoint of ours or of a ResNet50 state dict, or `none`.
        cache_dir: where downloads are kept.

    Raises:
        SettingsError, ModelError: as `check_weights` does; also ModelError where ImageNet's weights cannot be
            downloaded, or are damaged.
    """
    check_weights(weights)
    if weights in SCRATCH:
        return Start(None, "ResNet50 from scratch")
    if weights != IMAGENET:
        path = Path(weights).expanduser()
        return Start(path, f"weights {path.name}")
    return _imagenet(cache_dir)


def check_weights(weights: str) -> None:
    """Refuse what `resolve_weights` would refuse, without a download.

    Raises:
        SettingsError: there is no such name or file.
        ModelError: a file is not a checkpoint that can be trained on.
    """
    if weights in (IMAGENET, *SCRATCH):
        return
    path = Path(weights).expanduser()
    if not path.is_file():
        raise SettingsError(f"weights is {weights!r}; give {IMAGENET}, none, or the path of a checkpoint")
    from stocktake.bins.network import read_torch_file

    names = read_torch_file(path).keys()
    if not names >= OURS and "conv1.weight" not in names:
        raise ModelError(f"{path}: neither a checkpoint of `stocktake bins train` nor a ResNet50 state dict")


def load_start(network: "BinNetwork", start: Start) -> None:
    """Put the weights of `start` into a new network; its head too where it counts the same classes alike.

    Raises:
        ModelError: they can't be read, or are not those of a ResNet50.
    """
    if start.checkpoint is None:
        return
    from stocktake.bins.network import load_state, read_torch_file

    content = read_torch_file(start.checkpoint)
    if not content.keys() >= OURS:
        body = {name: value for name, value in content.items() if not name.startswith(CLASSIFIER)}
    elif (tuple(content["classes"]), content["head"]) == (network.classes, network.head_name):
        load_state(network, content["state"], start.checkpoint)
        return
    else:
        log.info("%s counts other classes or has another head: its head begins anew", start.checkpoint)
        prefix = "body."
        body = {
            name.removeprefix(prefix): value
            for name, value in content["state"].items()
            if name.startswith(prefix)
        }
    load_state(network.body, body, start.checkpoint)


def _imagenet(cache_dir: Path) -> Start:
    from torchvision.models import ResNet50_Weights

    url = ResNet50_Weights.IMAGENET1K_V2.url
    target = cache_dir / "weights" / url.rpartition("/")[2]
    try:
        if not target.is_file():
            download(url, target)
    except OSError as error:  # urllib's URLError is one; no route, no such host, a timeout, 404
        reason = getattr(error, "reason", None) or explain_os_error(error, target)
        raise ModelError(
            f"ImageNet weights cannot be downloaded from {url} ({reason}); put that file there by hand as"
            f" {target}, or train from scratch, which needs more epochs: --weights none"
        ) from error
    wanted = target.stem.rpartition("-")[2]  # torchvision ends the name with the first digits of the SHA-256
    if not sha256_file(target).startswith(wanted):
        raise ModelError(f"{target}: its SHA-256 does not begin with {wanted}; delete it and run again")
    return Start(target, f"ImageNet weights {target.name}")
