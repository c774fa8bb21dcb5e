"""What a user of any serving framework writes around an ONNX model of ours: decode, run, suppress.

Two set-ups. `usual`: OpenCV decodes the whole photo, ONNX Runtime runs fp32, OpenCV suppresses. `same`: the
engine and precision of ours, OpenVINO, on photos that the JPEG decoder has shrunk. This runs in the peers'
own environments, which have neither stocktake nor torch. Voids are not looked for, which only ours does.
"""

import argparse
import io
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

MAX_BATCH = 8
BATCH_WAIT_SECONDS = 0.01
PADDING = 114


def options(description: str | None) -> argparse.Namespace:
    """The command line that all peers have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", required=True, help="name in URLs")
    parser.add_argument("--model_dir", type=Path, required=True)
    parser.add_argument("--setup", choices=("usual", "same"), default="usual")
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), default="fp32")
    parser.add_argument("--http_port", type=int, default=8080)
    parser.add_argument("--grpc_port", type=int, default=8081)
    return parser.parse_args()


@dataclass(frozen=True)
class Square:
    """A photo fitted into the square that the model sees."""

    pixels: np.ndarray  # (S, S, 3) uint8 RGB
    scale: float  # px of the square per px of the photo
    left: int
    top: int


class Pipeline:
    """A loaded model. May be called from several threads."""

    def __init__(self, model_dir: Path, setup: str = "usual", precision: str = "fp32"):
        cv2.setNumThreads(1)
        self.card = json.loads((model_dir / "model_card.json").read_text())
        self.size = self.card["input_size"]
        counts = self.card["task"] == "bin-counter"  # bins are averaged where they shrink, as in training
        self._interpolation = cv2.INTER_AREA if counts else cv2.INTER_LINEAR
        self._shrinks = setup == "same"
        run = _openvino if setup == "same" else _onnxruntime
        self._run = run(model_dir, precision)

    def answer(self, photos: list[bytes]) -> list[dict[str, Any]]:
        """Answers to encoded photos, as one batch."""
        squares = [self.decode(photo) for photo in photos]
        return self.answer_squares(squares)

    def answer_squares(self, squares: list[Square]) -> list[dict[str, Any]]:
        """Answers to photos that `decode` returned, as one batch."""
        outputs = self._run(np.stack([square.pixels for square in squares]))
        if "probabilities" in outputs:
            return [self._count(row) for row in outputs["probabilities"]]
        rows = zip(squares, outputs["boxes"], outputs["scores"], strict=True)
        return [self._detect(*row) for row in rows]

    def decode(self, photo: bytes) -> Square:
        """Read and fit a photo."""
        longest = max(Image.open(io.BytesIO(photo)).size)
        flags = self._reduction(longest) if self._shrinks else cv2.IMREAD_COLOR
        pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), flags)
        height, width = pixels.shape[:2]
        scale = self.size / max(height, width)
        inner = round(width * scale), round(height * scale)
        pixels = cv2.resize(pixels, inner, interpolation=self._interpolation)
        left, top = (self.size - inner[0]) // 2, (self.size - inner[1]) // 2
        square = np.full((self.size, self.size, 3), PADDING, np.uint8)
        square[top : top + inner[1], left : left + inner[0]] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        return Square(square, self.size / longest, left, top)

    def _reduction(self, longest: int) -> int:
        for factor in (8, 4, 2):
            if longest // factor >= self.size:
                return int(getattr(cv2, f"IMREAD_REDUCED_COLOR_{factor}"))
        return int(cv2.IMREAD_COLOR)

    def _count(self, probabilities: np.ndarray) -> dict[str, Any]:
        count = int(self.card["classes"][int(probabilities.argmax())])
        return {"count": count, "probabilities": probabilities.tolist()}

    def _detect(self, square: Square, boxes: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
        threshold = self.card["score_threshold"]
        sure = scores >= threshold
        boxes, scores = boxes[sure], scores[sure]
        corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        kept = cv2.dnn.NMSBoxes(
            corner_and_size.tolist(), scores.tolist(), threshold, self.card["iou_threshold"]
        )
        chosen = np.array(kept, np.int64).reshape(-1)
        found = (boxes[chosen] - [square.left, square.top] * 2) / square.scale
        return {"boxes": found.tolist(), "scores": scores[chosen].tolist()}


def _onnxruntime(model_dir: Path, precision: str) -> Any:
    import onnxruntime

    if precision != "fp32":
        raise SystemExit(f"the usual set-up is fp32, not {precision}")
    session = onnxruntime.InferenceSession(model_dir / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(None, {"image": batch}), strict=True))


def _openvino(model_dir: Path, precision: str) -> Any:
    """Photo by photo: OpenVINO is faster on CPUs with a fixed shape than with a batch."""
    import openvino

    core = openvino.Core()
    model = core.read_model(model_dir / ("model.int8.xml" if precision == "int8" else "model.onnx"))
    model.reshape([1, *list(model.inputs[0].partial_shape)[1:]])
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    names = [port.get_any_name() for port in model.outputs]
    compiled = core.compile_model(model, "CPU", hint)
    requests = threading.local()

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        rows = [requests.own.infer([photo[None]]).to_tuple() for photo in batch]
        return {name: np.concatenate([row[n] for row in rows]) for n, name in enumerate(names)}

    return run
