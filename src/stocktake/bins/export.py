"""From a checkpoint to a model dir: weights.pt, model.onnx, model.int8.*, model_card.json, SHA256SUMS.

The ONNX graph does everything between a letterboxed photo and probabilities: input `image`, (N, S, S, 3)
uint8 RGB with any N; output `probabilities`, (N, K) float32, one column for each count of the card.
"""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stocktake.bins.counter import OUTPUT_NAME, BinCounter
from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError
from stocktake.files import atomic_path
from stocktake.images import encode_jpeg
from stocktake.model_card import MODEL_FILE, ModelCard, write_sums
from stocktake.model_export import PROOF_PHOTOS, WEIGHTS_FILE, new_model_dir, origin, val_photos, write_onnx
from stocktake.quantisation import add_int8

if TYPE_CHECKING:
    import torch

    from stocktake.bins.network import BinNetwork

log = logging.getLogger(__name__)

LICENCE = "AGPL-3.0-or-later"
MAX_GAP = 1e-3  # of a probability
KEPT_KEYS = ("state", "classes", "head", "img", "epoch", "metrics")


def export_model(
    checkpoint: Path, model_dir: Path, index: DatasetIndex | None = None, **card_fields: Any
) -> Path:
    """Export a checkpoint and prove on whole photos that the exported model says the same.

    A model dir without SHA256SUMS is one whose export was broken off. It may be served in fp32 until
    `set_precisions` allows more.

    Args:
        checkpoint: of a training of bins; it knows its classes and the side of its squares.
        model_dir: made if needed; an older model in it is replaced.
        index: what the checkpoint was trained on: names data and licence in the card, its val photos are
            those of the proof, and int8 is calibrated on its train photos, if there are enough. Where there
            are no val photos a few are made of noise.
        card_fields: fields of `ModelCard` beyond those that follow from the rest: name, metrics,
            verification …

    Returns:
        `model_dir`.

    Raises:
        ModelError: the checkpoint can't be exported, or the exported model says something else.
        StoreError: the model dir can't be written.
    """
    from stocktake.bins.network import load_checkpoint, read_checkpoint

    content = read_checkpoint(checkpoint)
    network = whole_network(load_checkpoint(checkpoint))
    card = make_card(content, index, **card_fields)
    photos = (val_photos(index) if index else []) or _noise_photos(card.input_size)
    with new_model_dir(model_dir):
        save_slim(content, model_dir / WEIGHTS_FILE)
        write_onnx(network, model_dir / MODEL_FILE, card.input_size, outputs=[OUTPUT_NAME])
        card.write(model_dir)
        write_sums(model_dir)
        check_parity(model_dir, network, photos)
        counter = BinCounter.load(model_dir, precision="fp32")
        add_int8(model_dir, index, lambda data: counter.decode(data).tensor)
    return model_dir


def make_card(checkpoint: dict[str, Any], index: DatasetIndex | None = None, **fields: Any) -> ModelCard:
    """The card of a checkpoint's content, trained on `index`; `fields` win over what is filled in here."""
    known = {
        **origin(index),
        "task": BinCounter.TASK,
        "name": "bin counter",
        "classes": [str(count) for count in checkpoint["classes"]],
        "input_size": checkpoint["img"],
        "weights": WEIGHTS_FILE,
        "licence": LICENCE,
    }
    return ModelCard(**{**known, **fields})


def whole_network(counter: "BinNetwork") -> "torch.nn.Module":
    """A `BinNetwork` as a module from (N, S, S, 3) uint8 to (N, K) float32 probabilities, as the graph is."""
    import torch

    class Network(torch.nn.Module):
        """Scaling, network and the probabilities of its head in one graph."""

        def __init__(self) -> None:
            super().__init__()
            self.counter = counter

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits = self.counter(image.permute(0, 3, 1, 2).float() / 255)
            return self.counter.probabilities(logits)

    return Network().eval().requires_grad_(False)


def save_slim(checkpoint: dict[str, Any], path: Path) -> None:
    """Save what `load_checkpoint` needs, without optimizer and folder names; a training can start from it."""
    import torch

    buffer = io.BytesIO()  # a file's own name would become part of the archive
    slim = {key: checkpoint[key] for key in KEPT_KEYS}
    torch.save({**slim, "state": {name: array.clone() for name, array in slim["state"].items()}}, buffer)
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())


def check_parity(model_dir: Path, network: "torch.nn.Module", photos: Sequence[bytes]) -> float:
    """Compare what model.onnx and the network it was made from say about whole photos, decoded as served.

    Returns:
        The largest difference of a probability.

    Raises:
        ModelError: it is over 1e-3, or there is nothing to compare.
    """
    import torch

    if not photos:
        raise ModelError(f"{model_dir / MODEL_FILE}: no photo to compare it with its checkpoint on")
    counter = BinCounter.load(model_dir, precision="fp32")
    batch = np.stack([counter.decode(data).tensor for data in photos])
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).numpy()
    gaps = np.abs(counter.infer(batch) - expected).max(axis=1)
    if not gaps.max() <= MAX_GAP:  # NaN is no agreement
        raise ModelError(
            f"{model_dir / MODEL_FILE}: on photo {int(gaps.argmax()) + 1} of {len(photos)} a probability is "
            f"{gaps.max():.5f} away from its checkpoint's; at most {MAX_GAP:g} is allowed"
        )
    log.info("model.onnx agrees with its checkpoint on %d photos, to %.1e", len(photos), gaps.max())
    return float(gaps.max())


def _noise_photos(size: int) -> list[bytes]:
    """Coarse noise in which a network finds something, in frames of different shapes."""
    rng = np.random.default_rng(0)
    blocks = (rng.integers(0, 256, (rng.integers(4, 12), 8, 3), np.uint8) for _ in range(PROOF_PHOTOS))
    return [encode_jpeg(block.repeat(size // 8, 0).repeat(size // 8, 1), quality=95) for block in blocks]
