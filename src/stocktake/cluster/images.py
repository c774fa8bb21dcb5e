"""What a cluster is told to run, and to mount, in pods that we start there."""

import os
import re
from importlib.metadata import version

from stocktake.errors import SettingsError


def train_image() -> str:
    """The training image: STOCKTAKE_TRAIN_IMAGE, or stocktake-train with the tag of this version."""
    return os.environ.get("STOCKTAKE_TRAIN_IMAGE") or f"stocktake-train:{version('stocktake')}"


def cache_claim() -> str:
    """The PersistentVolumeClaim for fetched photos that pods which we start share; '' where there is none."""
    return os.environ.get("STOCKTAKE_CACHE_CLAIM", "")


def check_image(image: str) -> None:
    """Refuse an image whose content may change under its name.

    Raises:
        SettingsError: it has neither a digest nor a tag, or its tag is `latest`.
    """
    if moves(image):
        raise SettingsError(
            f"image {image!r} (STOCKTAKE_TRAIN_IMAGE): give a version tag or a digest, such as "
            "registry.example.org/stocktake-train@sha256:…; under a name that moves, cached steps bring back "
            "what an older image made, and trials of one search may run different code"
        )


def moves(image: str) -> bool:
    """Whether what an image's name stands for may change: it has no digest, and no tag or `latest`."""
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@sha256:" not in image and (tag in ("", "latest") or not re.fullmatch(r"[\w][\w.-]{0,127}", tag))
