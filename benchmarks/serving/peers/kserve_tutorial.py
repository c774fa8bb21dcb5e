"""KServe as its tutorial of custom models shows: PyTorch, Pillow, base64 in JSON, a method that is not async.

It runs in the project's own environment, which has torch and kserve.
"""

import argparse
import base64
import io
import json
from pathlib import Path
from typing import Any

import kserve
import numpy as np
import torch
from PIL import Image

PADDING = (114, 114, 114)


class TutorialModel(kserve.Model):
    """Loads weights.pt of a model dir."""

    def __init__(self, name: str, model_dir: Path):
        super().__init__(name)
        self.model_dir = model_dir
        self.load()

    def load(self) -> bool:
        """Build the network."""
        self.card = json.loads((self.model_dir / "model_card.json").read_text())
        make = _detector if self.card["task"] == "shelf-detector" else _counter
        self.network = make(self.model_dir / "weights.pt", len(self.card["classes"]))
        self.ready = True
        return self.ready

    def preprocess(
        self, payload: dict[str, Any], _headers: dict[str, str] | None = None
    ) -> list[Image.Image]:
        """Photos."""
        photos = [base64.b64decode(instance["image"]["b64"]) for instance in payload["instances"]]
        return [Image.open(io.BytesIO(photo)).convert("RGB") for photo in photos]

    def predict(self, images: list[Image.Image], _headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Run the network."""
        squares = [_fit(image, self.card["input_size"]) for image in images]
        batch = torch.stack([square for square, *_ in squares])
        with torch.no_grad():
            output = self.network(batch)
        if self.card["task"] == "bin-counter":
            rows = output.softmax(1)
            return {"predictions": [_count(row, self.card["classes"]) for row in rows]}
        return {"predictions": [self._detect(*row) for row in zip(output, squares, strict=True)]}

    def _detect(self, output: torch.Tensor, square: tuple[torch.Tensor, float, int, int]) -> dict[str, Any]:
        from torchvision.ops import nms

        _, scale, left, top = square
        boxes, scores = output[:4].T, output[4]
        sure = scores >= self.card["score_threshold"]
        boxes, scores = boxes[sure], scores[sure]
        kept = nms(boxes, scores, self.card["iou_threshold"])
        found = (boxes[kept] - torch.tensor([left, top] * 2)) / scale
        return {"boxes": found.tolist(), "scores": scores[kept].tolist()}


def _detector(weights: Path, _classes: int) -> torch.nn.Module:
    from ultralytics.nn.tasks import load_checkpoint

    network, _ = load_checkpoint(str(weights))
    network.eval()
    head = network.model[-1]
    head.export, head.xyxy, head.format = True, True, ""  # boxes as corners, without the raw maps
    return network


def _counter(weights: Path, classes: int) -> torch.nn.Module:
    from torchvision.models import resnet50
    from torchvision.transforms import Normalize

    state = torch.load(weights, weights_only=True)["state"]
    body = {name.removeprefix("body."): value for name, value in state.items() if name.startswith("body.")}
    head = {
        f"fc.{name.rpartition('.')[2]}": value for name, value in state.items() if name.startswith("head.")
    }
    network = resnet50(num_classes=classes)
    network.load_state_dict({**body, **head})
    scale = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return torch.nn.Sequential(scale, network).eval()


def _fit(image: Image.Image, size: int) -> tuple[torch.Tensor, float, int, int]:
    """The photo in a square, (3, S, S) float32 0..1, and where it lies there."""
    scale = size / max(image.size)
    inner = round(image.width * scale), round(image.height * scale)
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    square = Image.new("RGB", (size, size), PADDING)
    square.paste(image.resize(inner, Image.Resampling.BILINEAR), (left, top))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255, scale, left, top


def _count(probabilities: torch.Tensor, classes: list[str]) -> dict[str, Any]:
    return {"count": int(classes[int(probabilities.argmax())]), "probabilities": probabilities.tolist()}


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True, help="name in URLs")
    parser.add_argument("--model_dir", type=Path, required=True)
    args, _ = parser.parse_known_args()  # kserve has read the ports already
    kserve.ModelServer().start([TutorialModel(args.model, args.model_dir)])


if __name__ == "__main__":
    main()
