"""int8 beside model.onnx: NNCF looks at training photos to learn which values each tensor takes.

The file is in OpenVINO's own format: from the same quantised graph written as ONNX, OpenVINO gives other
answers, worse by .08 of AP50 on drawn shelves.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stocktake.dataset import DatasetIndex, Photo, read_photo_bytes
from stocktake.images import Pixels
from stocktake.model_card import INT8_FILE, MODEL_FILE, write_sums
from stocktake.openvino_runner import load_openvino, openvino_core

if TYPE_CHECKING:
    import openvino

LEAST_PHOTOS = 32
MOST_PHOTOS = 100  # three times as many change nothing
LAYERS = ("Convolution", "GroupConvolution", "MatMul")
NO_ARITHMETIC = ("Constant", "Parameter", "Result")

log = logging.getLogger(__name__)


def add_int8(model_dir: Path, index: DatasetIndex | None, see: Callable[[bytes], Pixels]) -> bool:
    """Put model.int8.xml and model.int8.bin into a model dir, and renew its checksums.

    Whether they may be served is for the gate to say, so a model that can't be quantised is a warning.

    Args:
        model_dir: whole, without them.
        index: calibrates on its train photos, spread evenly over them.
        see: an encoded photo as the model sees it, (S, S, 3) uint8 RGB, decoded as it is served.

    Returns:
        Whether they were written; not with fewer than `LEAST_PHOTOS` train photos.
    """
    photos = spread(index.split("train") if index else [], MOST_PHOTOS)
    if index is None or len(photos) < LEAST_PHOTOS:
        log.info("no int8: %d train photos, it takes %d to calibrate on", len(photos), LEAST_PHOTOS)
        return False
    try:
        _quantise(model_dir, photos, lambda photo: see(read_photo_bytes(index, photo)))
    except Exception as error:  # NNCF and OpenVINO raise RuntimeError for anything
        log.warning("%s: no int8, for it can't be quantised (%s)", model_dir / MODEL_FILE, error)
        return False
    write_sums(model_dir)
    log.info("%s: calibrated on %d train photos", model_dir / INT8_FILE, len(photos))
    return True


def spread(photos: Sequence[Photo], count: int) -> list[Photo]:
    """At most `count` of the photos, at even distances."""
    if len(photos) <= count:
        return list(photos)
    return [photos[number * len(photos) // count] for number in range(count)]


def _quantise(model_dir: Path, photos: Sequence[Photo], see: Callable[[Photo], Pixels]) -> None:
    openvino = load_openvino()
    import nncf

    nncf.set_log_level(logging.WARNING)
    model = openvino_core().read_model(model_dir / MODEL_FILE)
    model.reshape([1, *list(model.inputs[0].partial_shape)[1:]])
    with contextlib.redirect_stdout(sys.stderr):  # its progress bars
        quantised = nncf.quantize(
            model,
            nncf.Dataset(photos, lambda photo: see(photo)[None]),
            subset_size=len(photos),
            preset=nncf.QuantizationPreset.MIXED,  # SiLU's outputs are not centred on zero
            ignored_scope=nncf.IgnoredScope(names=sorted(_float_nodes(model))),
        )
    openvino.save_model(quantised, model_dir / INT8_FILE, compress_to_fp16=False)


def _float_nodes(model: openvino.Model) -> set[str]:
    """Names of the nodes that stay in floating point: those that no layer of the network follows.

    There scores and boxes are worked out. A convolution after a softmax is no such layer: it is how YOLO
    turns the probabilities of distances into distances, which eight bits are too coarse for.
    """
    nodes = model.get_ordered_ops()
    after_softmax = _names(_reach((node for node in nodes if node.get_type_name() == "Softmax"), _consumers))
    layers = [
        node
        for node in nodes
        if node.get_type_name() in LAYERS and node.get_friendly_name() not in after_softmax
    ]
    before_layers = _names(_reach(layers, _producers))
    inner = (node for node in nodes if node.get_type_name() not in NO_ARITHMETIC)
    return _names(inner) - before_layers


def _reach(
    start: Iterable[openvino.Node], step: Callable[[openvino.Node], Iterator[openvino.Node]]
) -> list[openvino.Node]:
    """The nodes that `step` leads to from `start`, which are among them."""
    waiting, seen = list(start), {}
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in seen:
            seen[node.get_friendly_name()] = node
            waiting += step(node)
    return list(seen.values())


def _consumers(node: openvino.Node) -> Iterator[openvino.Node]:
    return (target.get_node() for port in node.outputs() for target in port.get_target_inputs())


def _producers(node: openvino.Node) -> Iterator[openvino.Node]:
    return (port.get_source_output().get_node() for port in node.inputs())


def _names(nodes: Iterable[openvino.Node]) -> set[str]:
    return {node.get_friendly_name() for node in nodes}
