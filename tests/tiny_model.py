"""A real detector of 1 kB: it finds bright cells of a 16 px grid.

It has the inputs and outputs of a trained shelf detector, runs on the same engine, and its answer on a drawn
photo can be worked out by hand. Grey padding (114) and anything darker scores 0, white scores 1.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stocktake.model_card import MODEL_FILE, ModelCard, write_sums

CELL = 16
SIZE = 128


def write_model(path: Path, size: int = SIZE, delay: int = 0, offset: float | None = None) -> Path:
    """`delay` makes an inference slower, by that many rounds of useless arithmetic.

    With an `offset` the cells' brightness is worked out by two convolutions, of which the first adds it, to
    numbers of 0 to 1, and the second takes it away: the greater it is, the more is lost in few bits.
    """
    cells = size // CELL
    corners = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1).reshape(-1, 2) * CELL
    boxes = np.concatenate([corners, corners + CELL], 1).astype(np.float32)[None]
    constants = {
        "grid": boxes,
        "dark": np.float32(128),
        "range": np.float32(127),
        "flat": np.array([0, -1]),
        "zero": np.float32(0),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["planes"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["cells"], kernel_shape=[CELL] * 2, strides=[CELL] * 2),
        helper.make_node("Sub", ["cells", "dark"], ["above"]),
        helper.make_node("Div", ["above", "range"], ["share"]),
        helper.make_node("Relu", ["share"], ["positive"]),
        helper.make_node("Reshape", ["positive", "flat"], ["scores"]),
        # (1, A, 4) plus zeros of shape (N, A, 1): the grid once for each photo
        helper.make_node("Mul", ["scores", "zero"], ["zeros"]),
        helper.make_node("Unsqueeze", ["zeros", "last"], ["column"]),
        helper.make_node("Add", ["grid", "column"], ["boxes"]),
    ]
    constants["last"] = np.array([-1])
    if offset is not None:
        nodes[2:4] = _convolutions(offset, constants)
    if delay:
        constants["square"] = np.array([1000, 1000])
        nodes.insert(0, helper.make_node("ConstantOfShape", ["square"], ["block"]))
        for round_ in range(delay):
            before = "block" if round_ == 0 else f"block_{round_ - 1}"
            nodes.append(helper.make_node("MatMul", [before, "seed"], [f"block_{round_}"]))
        # depends on the photo, or the engine would fold it into a constant at load
        nodes.insert(4, helper.make_node("ReduceMean", ["grey"], ["mean"], keepdims=0))
        nodes.insert(5, helper.make_node("Add", ["block", "mean"], ["seed"]))
        nodes.append(helper.make_node("ReduceMin", [f"block_{delay - 1}"], ["least"], keepdims=0))
        nodes.append(helper.make_node("ReduceMax", ["zeros"], ["row"], axes=[1], keepdims=0))
        nodes.append(helper.make_node("Add", ["row", "least"], ["slow"]))
    graph = helper.make_graph(
        nodes,
        "bright_cells",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", cells**2, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", cells**2]),
            *([helper.make_tensor_value_info("slow", TensorProto.FLOAT, ["N"])] if delay else []),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _convolutions(offset: float, constants: dict[str, Any]) -> list[Any]:
    constants["mean"] = np.full((1, 3, CELL, CELL), 1 / (255 * 3 * CELL**2), np.float32)
    constants["up"] = np.array([offset], np.float32)
    constants["scale"] = np.full((1, 1, 1, 1), 255, np.float32)
    constants["down"] = np.array([-255 * offset], np.float32)
    return [
        helper.make_node("Conv", ["planes", "mean", "up"], ["raised"], name="first", strides=[CELL] * 2),
        helper.make_node("Relu", ["raised"], ["kept"]),
        helper.make_node("Conv", ["kept", "scale", "down"], ["cells"], name="second"),
    ]


def card(**fields: Any) -> ModelCard:
    known: dict[str, Any] = {
        "task": "shelf-detector",
        "name": "bright-cells",
        "classes": ["product"],
        "input_size": SIZE,
        "score_threshold": 0.5,
        "void_score_threshold": 0.5,
        "licence": "AGPL-3.0-or-later",
        "data_licence": "drawn",
        "dataset": "none",
        "dataset_digest": "0" * 64,
        "stocktake_version": "0.1.0",
    }
    verdict = {"allowed": True, "reason": "a test may"}
    known["precision_gate"] = dict.fromkeys(fields.get("precisions", ()), verdict)
    return ModelCard(**{**known, **fields})


def write_model_dir(model_dir: Path, delay: int = 0, offset: float | None = None, **fields: Any) -> Path:
    model_dir.mkdir(parents=True, exist_ok=True)
    write_model(model_dir / MODEL_FILE, delay=delay, offset=offset)
    card(**fields).write(model_dir)
    write_sums(model_dir)
    return model_dir


def draw_photo(
    cells: list[tuple[int, int]], width: int = SIZE, height: int = SIZE, cell: int = CELL
) -> np.ndarray:
    """(height, width, 3) uint8: black with white cells at (column, row)."""
    photo = np.zeros((height, width, 3), np.uint8)
    for column, row in cells:
        photo[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 255
    return photo
