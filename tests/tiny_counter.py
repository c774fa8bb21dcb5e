"""A real bin counter of 1 kB: the brighter a photo, the more items it sees.

It has the input and output of a trained bin counter, runs on the same engine, and what it says of a grey
photo can be worked out by hand: a brightness of 50 k means k items, and one halfway between two counts gives
both the same probability.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stocktake.dataset import DatasetIndex, Photo
from stocktake.files import sha256_file
from stocktake.model_card import MODEL_FILE, ModelCard, write_sums

SIZE = 64
CELL = 16
STEP = 50  # of brightness per item
CLASSES = (1, 2, 3, 4, 5)


def write_model(
    path: Path,
    classes: tuple[int, ...] = CLASSES,
    sharpness: float = 4.0,
    offset: float | None = None,
) -> Path:
    """Softmax over -sharpness (brightness / 50 - count)².

    With an `offset` two convolutions average the brightness, of which the first adds it, to numbers of 0 to
    5, and the second takes it away: the greater it is, the more is lost in few bits.
    """
    constants = {
        "step": np.float32(STEP),
        "counts": np.array([classes], np.float32),
        "steepness": np.float32(-sharpness),
        "shape": np.array([-1, 1]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["mean", "step"], ["items"]),
        helper.make_node("Reshape", ["items", "shape"], ["column"]),
        helper.make_node("Sub", ["column", "counts"], ["gap"]),
        helper.make_node("Mul", ["gap", "gap"], ["square"]),
        helper.make_node("Mul", ["square", "steepness"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    if offset is not None:
        constants |= {
            "cell": np.full((1, 3, CELL, CELL), 1 / (STEP * 3 * CELL**2), np.float32),
            "up": np.array([offset], np.float32),
            "all": np.full((1, 1, SIZE // CELL, SIZE // CELL), (CELL / SIZE) ** 2, np.float32),
            "down": np.array([-offset], np.float32),
        }
        nodes[1:3] = [
            helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["planes", "cell", "up"], ["raised"], name="first", strides=[CELL] * 2),
            helper.make_node("Relu", ["raised"], ["kept"]),
            helper.make_node("Conv", ["kept", "all", "down"], ["items"], name="second"),
        ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def card(**fields: Any) -> ModelCard:
    known: dict[str, Any] = {
        "task": "bin-counter",
        "name": "brightness",
        "classes": [str(count) for count in CLASSES],
        "input_size": SIZE,
        "verification": {"accept_above": 0.8, "reject_below": 0.1},
        "licence": "AGPL-3.0-or-later",
        "data_licence": "none",
        "dataset": "none",
        "dataset_digest": "0" * 64,
        "stocktake_version": "0.1.0",
    }
    verdict = {"allowed": True, "reason": "a test may"}
    known["precision_gate"] = dict.fromkeys(fields.get("precisions", ()), verdict)
    return ModelCard(**{**known, **fields})


def write_model_dir(
    model_dir: Path, sharpness: float = 4.0, offset: float | None = None, **fields: Any
) -> Path:
    model_dir.mkdir(parents=True, exist_ok=True)
    about = card(**fields)
    write_model(model_dir / MODEL_FILE, tuple(map(int, about.classes)), sharpness, offset)
    about.write(model_dir)
    write_sums(model_dir)
    return model_dir


def draw_bin(items: float, width: int = SIZE, height: int = SIZE) -> np.ndarray:
    """(height, width, 3) uint8: grey, as bright as a bin of that many items."""
    return np.full((height, width, 3), round(items * STEP), np.uint8)


def draw_full_range(items: float) -> np.ndarray:
    """As bright on average as a bin of that many items, but white above and black below, as photos go."""
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    photo.reshape(-1, 3)[: round(items * STEP / 255 * SIZE**2)] = 255
    return photo


def write_bins(
    folder: Path,
    seen: dict[str, list[tuple[float, int]]],
    name: str = "bins",
    draw: Callable[[float], np.ndarray] = draw_bin,
    **metadata: Any,
) -> Path:
    """An index of photos: for each split, how many items a photo shows and how many were recorded.

    Two photos in a row are one group.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for split, bins in seen.items():
        for number, (items, quantity) in enumerate(bins):
            path = folder / f"{split}_{number:03}.png"
            cv2.imwrite(str(path), draw(items))
            length, digest, group = path.stat().st_size, sha256_file(path), f"{split}_{number // 2}"
            photos.append(
                Photo(
                    path.name, path.name, length, digest, SIZE, SIZE, split, group,
                    np.zeros((0, 4), np.float32), quantity=quantity,
                )
            )  # fmt: skip
    index_path = folder / "index.parquet"
    DatasetIndex(photos, str(folder), {"name": name, **metadata}).write(index_path)
    return index_path
