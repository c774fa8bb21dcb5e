"""What is measured: drawn photos, and two models of the usual size that need no training.

    python -m benchmarks.serving.workload --work runs/serving

Shelves are JPEGs of 1080x1920 px and about 500 KB, bins of 500 px and about 80 KB. The detector is a YOLOv5s
at 640 px that says what the starter weights, a YOLOv5n, say: each channel of the small network stands twice
in the large one with half the weight (Chen, Goodfellow, Shlens: Net2Net, 2016), so the boxes are real and the
arithmetic is that of any YOLOv5s. The counter is a ResNet50 at 224 px with random weights, whose statistics
and head were fitted to drawn bins so that its answers differ from photo to photo. Both are calibrated for
int8 on photos of their own. Their cards allow every precision: here speed is measured, and no gate was asked.

Everything is written once; a second call takes what is there.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stocktake.dataset import DRAWN_LICENCE, DatasetIndex, Photo, read_photo_bytes
from stocktake.files import sha256_file
from stocktake.images import Pixels, check_photo, encode_jpeg
from stocktake.model_card import ModelCard, PrecisionVerdict, write_sums

INT8_FILE = "model.int8.xml"
SHELVES, BINS = "shelf-detector", "bin-counter"
PHOTOS = 16
CALIBRATION_PHOTOS = 32
DETECTOR_PX, COUNTER_PX = 640, 224
CLASSES = (1, 2, 3, 4, 5)
RESIDUALS = 0.1
SHARPNESS = 2.0  # standard deviation of the counter's logits over photos


def main() -> None:
    """Draw and export."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    work = parser.parse_args().work
    for model in (SHELVES, BINS):
        photos, model_dir = photos_of(work, model), model_of(work, model)
        size = np.mean([len(data) for data in photos]) / 1e3
        print(f"{model}: {model_dir}, {len(photos)} photos of {size:.0f} KB on average")


def photos_of(work: Path, model: str) -> list[bytes]:
    """The encoded photos that a model is asked about, drawn if there are none."""
    return [path.read_bytes() for path in _drawn(work / "photos" / model, model, range(PHOTOS))]


def model_of(work: Path, model: str) -> Path:
    """The model dir, exported if there is none."""
    model_dir = work / "models" / model
    if not model_dir.is_dir():
        part = model_dir.with_suffix(".part")
        {SHELVES: _make_detector, BINS: _make_counter}[model](part, _index(work, model))
        _allow_all(part)
        part.rename(model_dir)
    return model_dir


def _drawn(folder: Path, model: str, seeds: Iterable[int]) -> list[Path]:
    """The photos of a folder, by name; those of `seeds` are drawn if there is no such folder."""
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        draw = {SHELVES: _draw_shelf, BINS: _draw_bin}[model]
        for seed in seeds:
            (part / f"{seed:02}.jpg").write_bytes(draw(seed))
        part.rename(folder)
    return sorted(folder.glob("*.jpg"))


def _index(work: Path, model: str) -> DatasetIndex:
    """Photos to calibrate int8 on, and those of the requests to prove an export on."""
    seeds = range(PHOTOS, PHOTOS + CALIBRATION_PHOTOS)
    splits = {
        "train": _drawn(work / "calibration" / model, model, seeds),
        "val": _drawn(work / "photos" / model, model, range(PHOTOS)),
    }
    photos = [
        Photo(
            f"{split}_{path.name}", str(path.absolute()), path.stat().st_size, sha256_file(path), info.width,
            info.height, split, path.name, np.zeros((0, 4), np.float32),
        )
        for split, paths in splits.items()
        for path in paths
        for info in [check_photo(path.read_bytes())]
    ]  # fmt: skip
    return DatasetIndex(photos, str(work), {"name": f"drawn for {model}", "licence": DRAWN_LICENCE})


def _allow_all(model_dir: Path) -> None:
    """Let a card allow every precision that there is a file for."""
    precisions = ["fp32", "bf16", *(["int8"] if (model_dir / INT8_FILE).is_file() else [])]
    gate = dict.fromkeys(precisions, PrecisionVerdict(allowed=True, reason="to measure its speed"))
    card = ModelCard.read(model_dir)
    card.model_copy(update={"precisions": precisions, "precision_gate": gate}).write(model_dir)
    write_sums(model_dir)


def _draw_shelf(number: int) -> bytes:
    from stocktake.synthetic.draw_settings import DrawSettings
    from stocktake.synthetic.shelves import draw_shelf

    settings = DrawSettings(width=1080, height=1920)
    return _encode(draw_shelf(np.random.default_rng(number), settings).photo, 500_000)


def _draw_bin(number: int) -> bytes:
    from stocktake.synthetic.bin_settings import BinDrawSettings
    from stocktake.synthetic.bins import draw_bin

    settings = BinDrawSettings(width=(500, 500))
    return _encode(draw_bin(np.random.default_rng(number), settings).photo, 80_000)


def _encode(photo: Pixels, size: int) -> bytes:
    """A JPEG of about that many bytes."""
    return min((encode_jpeg(photo, quality) for quality in range(80, 99)), key=lambda d: abs(len(d) - size))


def _make_detector(model_dir: Path, index: DatasetIndex) -> None:
    from stocktake.shelf.export import export_model

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "wide.pt"
        _widen_starter(weights)
        export_model(weights, model_dir, DETECTOR_PX, index, name="starter as YOLOv5s")


def _widen_starter(path: Path) -> None:
    """Write a YOLOv5s that says what the starter weights say."""
    import torch

    from stocktake.shelf.ultralytics_setup import load_ultralytics
    from stocktake.shelf.weights import starter_path

    load_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, torch_safe_load

    checkpoint, _ = torch_safe_load(str(starter_path()))
    small = checkpoint["model"].float()
    large = DetectionModel("yolov5s.yaml", nc=1, verbose=False)
    weights = large.state_dict()
    for name, tensor in small.state_dict().items():
        times = [b // a for a, b in zip(tensor.shape, weights[name].shape, strict=True)]
        for dimension, copies in enumerate(times):
            tensor = tensor.repeat_interleave(copies, dimension)
        weights[name] = tensor / times[1] if tensor.ndim == 4 else tensor
    large.load_state_dict(weights)
    large.names, large.args = small.names, small.args
    torch.save({**checkpoint, "model": large.half()}, path)


def _make_counter(model_dir: Path, index: DatasetIndex) -> None:
    import torch

    from stocktake.bins.export import export_model
    from stocktake.bins.network import BinNetwork

    torch.manual_seed(0)
    network = BinNetwork(CLASSES)
    _fit_statistics(network, [read_photo_bytes(index, photo) for photo in index.split("val")])
    checkpoint = {
        "state": network.state_dict(), "classes": CLASSES, "head": "softmax", "img": COUNTER_PX,
        "epoch": 0, "metrics": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.pt"
        torch.save(checkpoint, path)
        export_model(path, model_dir, index, name="random ResNet50")


def _fit_statistics(network: Any, photos: list[bytes]) -> None:
    """Batch statistics of drawn bins, and a head whose answers vary over them."""
    import torch

    from stocktake.bins.fitting import fit_bin
    from stocktake.images import decode_photo

    squares = np.stack([fit_bin(decode_photo(data), COUNTER_PX).square for data in photos])
    images = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 255
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            # with full-sized residuals random layers answer the rounding of a photo more than its content
            torch.nn.init.constant_(layer.weight, RESIDUALS if name.endswith("bn3") else 1)
            layer.momentum = None  # the mean of what comes, which is one batch
            layer.reset_running_stats()
    with torch.no_grad():
        network.train()(images)
        logits = network.eval()(images)
        scale = SHARPNESS / logits.std(0)
        head = network.head.linear
        head.weight.mul_(scale[:, None])
        head.bias.copy_((head.bias - logits.mean(0)) * scale)


if __name__ == "__main__":
    main()
