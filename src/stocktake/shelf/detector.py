"""The shelf detector as it is evaluated and served: a photo's bytes in, products and voids out."""

from pathlib import Path
from typing import NamedTuple

from stocktake.boxes import clip_boxes, nms
from stocktake.errors import ModelError
from stocktake.images import DecodedPhoto, Pixels
from stocktake.letterbox import Letterbox, letterbox
from stocktake.loaded_model import LoadedModel
from stocktake.model_card import ModelCard, read_settings
from stocktake.runner import Outputs
from stocktake.shelf.photo_voids import VOIDS_NEED, analyse_photo
from stocktake.shelf.report import Boxes, Scores, ShelfReport
from stocktake.shelf.voids import VoidSettings

CANDIDATE_THRESHOLD = 0.001  # with 300 per photo the convention for average precision on SKU-110K
CANDIDATE_COUNT = 300
MODEL_NEEDS = 2  # sides of its square; shrunk to it from less, a photo is not as sharp as when trained on


class Proposals(NamedTuple):
    """What the model says about one photo, before non-maximum suppression."""

    boxes: Boxes  # (A, 4) xyxy px of the square
    scores: Scores  # (A,) 0..1


class ShelfDetector(LoadedModel):
    """A detector's model dir, loaded; `interpret` finds the voids between its products.

    Attributes:
        void_settings: those of the card.
    """

    TASK = "shelf-detector"

    def __init__(self, model_dir: Path, card: ModelCard, digest: str):
        super().__init__(model_dir, card, digest)
        self.void_settings = read_settings(VoidSettings, card.void_settings, "void_settings", model_dir)

    @property
    def least_side(self) -> int:
        """What the model needs, and the search for voids."""
        return max(MODEL_NEEDS * self.card.input_size, VOIDS_NEED)

    def fit(self, pixels: Pixels) -> Letterbox:
        """See `LoadedModel.fit`."""
        return letterbox(pixels, self.card.input_size)

    def infer(self, batch: Pixels, alone: bool = True) -> list[Proposals]:
        """See `LoadedModel.infer`."""
        outputs = self.runner.infer(batch, alone)
        return [Proposals(*photo) for photo in zip(outputs["boxes"], outputs["scores"], strict=True)]

    def interpret(self, proposals: Proposals, decoded: DecodedPhoto) -> ShelfReport:
        """Products and voids of one photo.

        Products below the card's `score_threshold` are not reported; those from `void_score_threshold` on
        have a say in where voids are.
        """
        lowest = min(self.card.score_threshold, self.card.void_score_threshold)
        boxes, scores = self._suppress(proposals, decoded, lowest, self.card.max_detections)
        support = scores >= self.card.void_score_threshold
        shelf = analyse_photo(boxes[support], scores[support], decoded.photo, self.void_settings)
        sure = scores >= self.card.score_threshold
        return ShelfReport(
            decoded.width, decoded.height, boxes[sure], scores[sure], shelf.voids, shelf.tiers, shelf.osa
        )

    def detect(self, data: bytes) -> ShelfReport:
        """Products and voids of one photo: decode, infer, interpret.

        Raises:
            UnsupportedImage, PhotoTooLarge: see `decode`.
        """
        decoded = self.decode(data)
        return self.interpret(self.infer(decoded.tensor[None])[0], decoded)

    def candidates(
        self,
        photo: bytes | DecodedPhoto,
        proposals: Proposals | None = None,
        score_threshold: float = CANDIDATE_THRESHOLD,
        max_detections: int = CANDIDATE_COUNT,
    ) -> tuple[Boxes, Scores]:
        """Products down to a low score, best first, for average precision.

        Args:
            photo: an encoded photo, or one that `decode` returned.
            proposals: what `infer` said about it; None runs the model.
            score_threshold: lowest score.
            max_detections: how many at most.

        Returns:
            boxes (n, 4) xyxy px of the photo and scores (n,). Those over the card's threshold are the ones
            that `detect` reports, as long as `max_detections` leaves room for them.
        """
        decoded = self.decode(photo) if isinstance(photo, bytes) else photo
        if proposals is None:
            proposals = self.infer(decoded.tensor[None])[0]
        return self._suppress(proposals, decoded, score_threshold, max_detections)

    def _suppress(
        self, proposals: Proposals, decoded: DecodedPhoto, threshold: float, max_detections: int
    ) -> tuple[Boxes, Scores]:
        over = proposals.scores >= threshold
        boxes, scores = proposals.boxes[over], proposals.scores[over]
        boxes = clip_boxes(decoded.to_photo(boxes), decoded.width, decoded.height)
        kept = nms(boxes, scores, self.card.iou_threshold, max_detections)
        return boxes[kept], scores[kept]

    def _check_outputs(self, outputs: Outputs, path: Path) -> None:
        found = {name: array.shape for name, array in outputs.items()}
        boxes, scores = found.get("boxes", ()), found.get("scores", ())
        if len(boxes) != 3 or boxes[::2] != (2, 4) or scores != boxes[:2]:
            raise ModelError(
                f"{path}: its outputs are {found}; a shelf detector has boxes (N, A, 4) and scores (N, A)"
            )
