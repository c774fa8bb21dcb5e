"""What every export shares: a model dir that is whole or has no checksums, and a network written as ONNX."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from stocktake.dataset import DatasetIndex, read_photo_bytes
from stocktake.errors import ModelError, StoreError
from stocktake.files import atomic_path, explain_os_error
from stocktake.model_card import SUMS_FILE
from stocktake.runner import INPUT_NAME

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "weights.pt"
PROOF_PHOTOS = 8
UNKNOWN = "not known"


@contextmanager
def new_model_dir(model_dir: Path) -> Iterator[Path]:
    """A model dir to be written in the block; what an older export left is removed first.

    SHA256SUMS is what makes a model dir one: the block writes it last, and it goes where the block fails.

    Raises:
        StoreError: the folder can't be written.
    """
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        for stale in (SUMS_FILE, *(path.name for path in model_dir.glob("model.*"))):
            (model_dir / stale).unlink(missing_ok=True)
        yield model_dir
    except OSError as error:
        raise StoreError(explain_os_error(error, model_dir)) from error
    except ModelError:
        (model_dir / SUMS_FILE).unlink(missing_ok=True)
        raise


def origin(index: DatasetIndex | None) -> dict[str, str]:
    """The card's fields that say what a model was trained on, and by which version of this library."""
    about = index.metadata if index else {}
    return {
        "data_licence": about.get("licence") or UNKNOWN,
        "dataset": about.get("name") or UNKNOWN,
        "dataset_digest": index.digest if index else UNKNOWN,
        "stocktake_version": version("stocktake"),
    }


def write_onnx(network: "torch.nn.Module", path: Path, img: int, outputs: Sequence[str]) -> None:
    """Trace `network` for squares of `img` px and any number of photos, check the graph and write it.

    Args:
        network: takes (N, img, img, 3) uint8 RGB.
        path: of the ONNX file.
        img: side in px.
        outputs: their names.

    Raises:
        ModelError: PyTorch can't express it in ONNX, or the checker refuses the result.
    """
    import onnx
    import torch

    example = torch.zeros(2, img, img, 3, dtype=torch.uint8)
    for talkative in ("onnxscript", "onnx_ir"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(), atomic_path(path) as part:
            warnings.simplefilter("ignore")  # of torch.export's own making
            torch.onnx.export(
                network,
                (example,),
                str(part),
                input_names=[INPUT_NAME],
                output_names=list(outputs),
                dynamic_shapes={INPUT_NAME: {0: torch.export.Dim("batch", min=1)}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            onnx.checker.check_model(str(part), full_check=True)
    except (OSError, ModelError):
        raise
    except Exception as error:  # torch.export, onnxscript and the checker have no common base
        raise ModelError(f"{path}: the network can't be written as ONNX ({error})") from error


def val_photos(index: DatasetIndex) -> list[bytes]:
    """A few encoded photos of the val split, to prove an export on."""
    return [read_photo_bytes(index, photo) for photo in index.split("val")[:PROOF_PHOTOS]]
