from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stocktake.errors import ModelError
from stocktake.runtime import load_runner
from tests.tiny_model import draw_photo, write_model


def test_batches_of_any_size_from_several_threads(tmp_path):
    runner = Runner.load(write_model(tmp_path / "model.onnx"), threads=1)
    photos = np.stack([draw_photo([(number, 0)]) for number in range(8)])
    alone = [runner.infer(photo[None])["scores"][0] for photo in photos]

    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(runner.infer, [photos, photos[::-1], photos[:3]]))

    assert (batches[0]["scores"] == alone).all()
    assert (batches[1]["scores"] == alone[::-1]).all()
    assert batches[2]["boxes"].shape == (3, 64, 4)
    assert [scores.argmax() for scores in alone] == list(range(8))


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [("images", TensorProto.UINT8, 4), ("image", TensorProto.FLOAT, 4), ("image", TensorProto.UINT8, 3)],
)
def test_other_inputs_are_refused(tmp_path, name, kind, shape):
    value = helper.make_tensor_value_info(name, kind, [1] * shape)
    out = helper.make_tensor_value_info("same", kind, [1] * shape)
    graph = helper.make_graph([helper.make_node("Identity", [name], ["same"])], "graph", [value], [out])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10),
        tmp_path / "model.onnx",
    )

    with pytest.raises(ModelError, match=r"model.onnx: its inputs are .*export the model with stocktake"):
        Runner.load(tmp_path / "model.onnx")


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_files_that_are_no_model(tmp_path, content):
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)

    with pytest.raises(ModelError, match=r"model.onnx: cannot be loaded"):
        Runner.load(tmp_path / "model.onnx")
