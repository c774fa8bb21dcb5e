"""From a checkpoint to a model dir: weights.pt, model.onnx, model.int8.*, model_card.json, SHA256SUMS.

The ONNX graph does everything between a letterboxed photo and boxes in its pixels: input `image`,
(N, S, S, 3) uint8 RGB with any N; outputs `boxes`, (N, A, 4) float32 xyxy px of the square, and `scores`,
(N, A) float32 0..1, before non-maximum suppression.
"""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError
from stocktake.files import atomic_path
from stocktake.images import encode_jpeg
from stocktake.model_card import MODEL_FILE, ModelCard, write_sums
from stocktake.model_export import PROOF_PHOTOS, WEIGHTS_FILE, new_model_dir, origin, val_photos, write_onnx
from stocktake.quantisation import add_int8
from stocktake.settings import load_settings
from stocktake.shelf.detector import ShelfDetector
from stocktake.shelf.train_settings import NMS_IOU
from stocktake.shelf.voids import VoidSettings
from stocktake.shelf.yolo_labels import CLASS_NAMES

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

LICENCE = "AGPL-3.0-or-later"  # ultralytics' own, for weights trained with it
MAX_BOX_GAP = 1.0  # px of the photo
MAX_SCORE_GAP = 1e-3
MIN_COMPARED = 100
COMPARED_SCORE = 0.05  # thresholds are chosen after the export, seldom below this
KEPT_ARGUMENTS = ("task", "imgsz", "single_cls", "optimizer", "lr0", "epochs", "batch", "seed")


def export_model(
    weights: Path,
    model_dir: Path,
    img: int,
    index: DatasetIndex | None = None,
    int8: bool = True,
    **card_fields: Any,
) -> Path:
    """Export a checkpoint and prove on whole photos that the exported model says the same.

    A model dir without SHA256SUMS is one whose export was broken off. It may be served in fp32 until
    `set_precisions` allows more.

    Args:
        weights: an ultralytics checkpoint of a detector with one class.
        model_dir: made if needed; an older model in it is replaced.
        img: side in px of the square that the model will see, a multiple of 32.
        index: what the checkpoint was trained on: names data and licence in the card, and its val photos are
            those of the proof. Where there are none a few are drawn.
        int8: calibrate on its train photos, too, if there are enough.
        card_fields: fields of `ModelCard` beyond those that follow from the rest: name, dataset,
            dataset_digest, data_licence, metrics, score_threshold …

    Returns:
        `model_dir`.

    Raises:
        ModelError: the checkpoint can't be exported, or the exported model says something else.
        StoreError: the model dir can't be written.
    """
    from stocktake.shelf.weights import check_checkpoint

    network = load_network(check_checkpoint(weights))
    card = make_card(img, index, **card_fields)
    photos = (val_photos(index) if index else []) or _drawn_photos()
    with new_model_dir(model_dir):
        save_slim(weights, model_dir / WEIGHTS_FILE)
        write_onnx(network, model_dir / MODEL_FILE, img, outputs=("boxes", "scores"))
        card.write(model_dir)
        write_sums(model_dir)
        check_parity(model_dir, network, photos)
        if int8:
            detector = ShelfDetector.load(model_dir, precision="fp32")
            add_int8(model_dir, index, lambda data: detector.decode(data).tensor)
    return model_dir


def export_start(weights: str, size: str, img: int, index_path: Path, model_dir: Path) -> Path | None:
    """Export what a training starts from, so that an evaluation can say what the training has added.

    Args:
        weights: as in `TrainSettings`.
        size: its `model`.
        img: side in px of the square that the model will see.
        index_path: index.parquet, whose photos prove the export.
        model_dir: made if needed.

    Returns:
        `model_dir`; None where training starts from scratch or from a detector of other things, as COCO's is.

    Raises:
        SettingsError, ModelError, StoreError: as `resolve_weights` and `export_model` do.
    """
    from stocktake.shelf.weights import resolve_weights

    start = resolve_weights(weights, size, load_settings().cache.absolute())
    if start.checkpoint is None or len(_read_detector(start.checkpoint).names) != 1:
        return None
    index = DatasetIndex.read(index_path)
    name = f"{start.description}, untrained"
    return export_model(start.checkpoint, model_dir, img, index, int8=False, name=name)


def make_card(img: int, index: DatasetIndex | None = None, **fields: Any) -> ModelCard:
    """The card of a shelf detector trained on `index`; `fields` win over what is filled in here."""
    known = {
        **origin(index),
        "task": ShelfDetector.TASK,
        "name": "shelf detector",
        "classes": list(CLASS_NAMES),
        "input_size": img,
        "iou_threshold": NMS_IOU,
        "void_settings": VoidSettings().model_dump(),
        "weights": WEIGHTS_FILE,
        "licence": LICENCE,
    }
    return ModelCard(**{**known, **fields})


def load_network(weights: Path) -> "torch.nn.Module":
    """The checkpoint as a module from (N, S, S, 3) uint8 to boxes and scores, as the ONNX graph has them.

    Raises:
        ModelError: it detects other than one class.
    """
    import torch

    class Network(torch.nn.Module):
        """Normalisation, detector and layout in one graph."""

        def __init__(self, detector: torch.nn.Module) -> None:
            super().__init__()
            self.detector = detector

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            decoded = self.detector(image.permute(0, 3, 1, 2).float() / 255)
            return decoded[:, :4].permute(0, 2, 1), decoded[:, 4]

    detector = _read_detector(weights)
    if len(detector.names) != 1:
        raise ModelError(
            f"{weights}: detects {len(detector.names)} classes; a shelf detector knows one, products"
        )
    detector = detector.fuse(verbose=False).eval()
    head = detector.model[-1]
    head.export, head.xyxy = True, True  # decoded boxes alone, as corners
    head.dynamic = True  # the grid is part of the graph instead of being remembered from the last call
    return Network(detector).requires_grad_(False)


def _read_detector(weights: Path) -> Any:
    from stocktake.shelf.ultralytics_setup import load_ultralytics

    load_ultralytics()
    from ultralytics.nn.tasks import load_checkpoint

    detector, _ = load_checkpoint(str(weights))
    return detector


def save_slim(weights: Path, path: Path) -> None:
    """Save the fp16 model of a checkpoint for ultralytics to load, without optimizer and folder names."""
    import torch
    from ultralytics import __version__
    from ultralytics.nn.tasks import torch_safe_load

    checkpoint, _ = torch_safe_load(str(weights))
    model = (checkpoint.get("ema") or checkpoint["model"]).half()
    arguments = {key: checkpoint.get("train_args", {}).get(key) for key in KEPT_ARGUMENTS}
    model.args = arguments
    for private in ("criterion", "pt_path"):
        model.__dict__.pop(private, None)
    buffer = io.BytesIO()  # a file's own name would become part of the archive
    torch.save(
        {"epoch": -1, "model": model, "train_args": arguments, "version": __version__, "license": LICENCE},
        buffer,
    )
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())


def check_parity(model_dir: Path, network: "torch.nn.Module", photos: Sequence[bytes]) -> int:
    """Compare what model.onnx and the network it was made from say about whole photos.

    The photos are decoded as they are served. Compared are the proposals, anchor by anchor in the photo's
    pixels, before non-maximum suppression: that orders by score, and where two are equal either order is
    right. All from the card's lowest threshold on are, from `COMPARED_SCORE` on at the latest, and at least
    the best `MIN_COMPARED` of each photo.

    Returns:
        How many proposals were compared, over all photos.

    Raises:
        ModelError: one of them is more than 1 px on a side or 1e-3 in its score away from its counterpart, or
            there is nothing to compare.
    """
    import torch

    detector = ShelfDetector.load(model_dir, precision="fp32")
    card = detector.card
    lowest = min(card.score_threshold, card.void_score_threshold, COMPARED_SCORE)
    compared = 0
    for number, data in enumerate(photos, 1):
        decoded = detector.decode(data)
        exported = detector.infer(decoded.tensor[None])[0]
        with torch.inference_mode():
            boxes, scores = (output[0].numpy() for output in network(torch.from_numpy(decoded.tensor[None])))
        best = np.maximum(exported.scores, scores)
        over = best >= min(lowest, np.sort(best)[-MIN_COMPARED:][0])
        box_gap = np.abs(decoded.to_photo(exported.boxes) - decoded.to_photo(boxes))[over].max(initial=0)
        score_gap = np.abs(exported.scores - scores)[over].max(initial=0)
        if box_gap > MAX_BOX_GAP or score_gap > MAX_SCORE_GAP:
            raise ModelError(
                f"{model_dir / MODEL_FILE}: on photo {number} of {len(photos)} it is up to {box_gap:.3f} px"
                f" and {score_gap:.5f} in score away from its checkpoint; at most {MAX_BOX_GAP:g} px and"
                f" {MAX_SCORE_GAP:g} are allowed"
            )
        compared += int(over.sum())
    if not compared:
        raise ModelError(f"{model_dir / MODEL_FILE}: no photo to compare it with its checkpoint on")
    log.info("model.onnx agrees with its checkpoint on %d proposals in %d photos", compared, len(photos))
    return compared


def _drawn_photos() -> list[bytes]:
    from stocktake.synthetic.shelves import DrawSettings, draw_shelf

    photos = []
    for seed in range(PROOF_PHOTOS):
        drawn = draw_shelf(np.random.default_rng(seed), DrawSettings())
        photos.append(encode_jpeg(drawn.photo, quality=95))
    return photos
