import logging
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from stocktake.errors import ModelError, SettingsError
from stocktake.model_card import INT8_FILE, MODEL_FILE
from stocktake.onnx_runner import find_gpu_engine, load_on_gpu
from stocktake.openvino_runner import load_openvino
from stocktake.runner import EngineMissing, Wish
from stocktake.runtime import load_runner, precisions_here
from tests.tiny_model import SIZE, draw_photo, write_model, write_model_dir

ENGINES = ("openvino", "onnxruntime")
CAN_BF16 = "BF16" in load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
WITHOUT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)

sys.meta_path.insert(0, Blocker())
from pathlib import Path
from stocktake.errors import SettingsError
from stocktake.shelf.detector import ShelfDetector
try:
    print(ShelfDetector.load(Path(sys.argv[1]), threads=1, {arguments}).runner)
except SettingsError as error:
    print("refused:", error)
"""
EMPTIED = """
import sys
from pathlib import Path
import numpy as np
from stocktake.openvino_runner import load_openvino, openvino_core
from stocktake.runtime import load_runner

onnx, xml = Path(sys.argv[1]), Path(sys.argv[2])
load_openvino().save_model(openvino_core().read_model(onnx), xml, compress_to_fp16=False)
runner = load_runner(onnx.parent, ["int8"], threads=2, lanes=2, engine="openvino")
weights = xml.with_suffix(".bin")
assert weights.stat().st_size
weights.write_bytes(b"")
runner.open_lanes(int(sys.argv[3]), onnx)
photo = np.full((1, int(sys.argv[3]), int(sys.argv[3]), 3), 255, np.uint8)
print(*{float(runner.infer(photo, alone)["scores"].min()) for alone in (True, False)})
"""


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch):
    for name in ("STOCKTAKE_ENGINE", "STOCKTAKE_PRECISION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def model_dir(tmp_path):
    write_model(tmp_path / MODEL_FILE)
    return tmp_path


def open_runner(model_dir, precision="fp32", engine=None):
    """With two lanes."""
    runner = load_runner(model_dir, [precision], threads=2, lanes=2, engine=engine)
    runner.open_lanes(SIZE, model_dir / MODEL_FILE)
    return runner


def photos_of(count):
    """Photo i has one white cell, i."""
    return np.stack([draw_photo([(number % 8, number // 8)]) for number in range(count)])


class TestInference:
    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("alone", [True, False])
    def test_batches_of_any_size_from_several_threads(self, model_dir, engine, alone):
        runner = open_runner(model_dir, engine=engine)
        photos = photos_of(64)
        expected = [runner.infer(photo[None])["scores"][0] for photo in photos]
        assert [scores.argmax() for scores in expected] == list(range(64))

        batches = [photos[start : start + size] for start, size in ((0, 1), (8, 3), (20, 8), (0, 2))] * 8
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda batch: runner.infer(batch, alone=alone), batches))

        for batch, outputs in zip(batches, found, strict=True):
            wanted = np.stack(
                [expected[np.flatnonzero((photos == photo).all((1, 2, 3)))[0]] for photo in batch]
            )
            assert outputs["boxes"].shape == (len(batch), 64, 4)
            np.testing.assert_allclose(outputs["scores"], wanted, atol=1e-6)

    @pytest.mark.parametrize("engine", ENGINES)
    def test_both_layouts_at_once(self, model_dir, engine):
        runner = open_runner(model_dir, engine=engine)
        photos = photos_of(32)
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(
                lambda n: runner.infer(photos[n : n + 1], alone=n % 2 == 0)["scores"][0].argmax(), range(32)
            )
            assert list(found) == list(range(32))

    @pytest.mark.parametrize("engine", ENGINES)
    def test_photos_are_answered_before_lanes_are_open_and_while_they_open(self, model_dir, engine):
        runner = load_runner(model_dir, ["fp32"], threads=2, lanes=2, engine=engine)
        photos = photos_of(32)
        alone = [runner.infer(photos[n : n + 1])["scores"] for n in range(32)]
        assert all(
            (runner.infer(photos[n : n + 1], alone=False)["scores"] == alone[n]).all() for n in range(32)
        )

        with ThreadPoolExecutor(4) as pool:
            opened = pool.submit(runner.open_lanes, SIZE, model_dir / MODEL_FILE)
            found = list(
                pool.map(lambda n: runner.infer(photos[n : n + 1], alone=False)["scores"], range(32))
            )
        assert opened.exception() is None
        np.testing.assert_allclose(found, alone, atol=1e-6)

    @pytest.mark.parametrize("engine", ENGINES)
    def test_lanes_that_cannot_be_opened(self, model_dir, engine):
        runner = load_runner(model_dir, ["fp32"], threads=2, lanes=2, engine=engine)
        with pytest.raises(ModelError, match=r"model.onnx: cannot run 2 photos side by side \("):
            runner.open_lanes(SIZE + 1, model_dir / MODEL_FILE)
        assert runner.infer(photos_of(4), alone=False)["scores"].argmax(axis=1).tolist() == [0, 1, 2, 3]

    def test_an_answer_stays_as_it_is_when_the_next_is_made(self, model_dir):
        runner = load_runner(model_dir, ["fp32"], threads=1)
        first = runner.infer(photos_of(1))
        kept = {name: array.copy() for name, array in first.items()}
        runner.infer(photos_of(2)[1:])
        assert all((first[name] == kept[name]).all() for name in first)

    def test_photos_that_are_not_contiguous(self, model_dir):
        runner = load_runner(model_dir, ["fp32"], threads=1)
        photos = photos_of(4)
        mirrored = runner.infer(photos[::-1, :, ::-1])["scores"]
        assert mirrored.argmax(axis=1).tolist() == [4, 5, 6, 7]

    @pytest.mark.parametrize("precision", sorted(precisions_here() & {"fp32", "bf16"}))
    def test_equal_photos_get_equal_answers(self, model_dir, precision):
        runner = open_runner(model_dir, precision)
        noise = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
        first = runner.infer(noise)["scores"]
        assert all((runner.infer(noise)["scores"] == first).all() for _ in range(5))
        np.testing.assert_allclose(runner.infer(noise, alone=False)["scores"], first, atol=1e-5)

    @pytest.mark.skipif(not CAN_BF16, reason="this CPU has no instructions for bf16")
    def test_bf16_rounds_and_fp32_does_not(self, tmp_path):
        write_model(tmp_path / MODEL_FILE, offset=0.5)
        noise = np.random.default_rng(1).integers(100, 256, (1, SIZE, SIZE, 3), np.uint8)
        exact = noise.astype(np.float64).mean(axis=3).reshape(8, 16, 8, 16).mean((1, 3)).reshape(1, -1)
        exact = np.maximum((exact - 128) / 127, 0)
        gaps = {
            precision: np.abs(
                load_runner(tmp_path, [precision], threads=1).infer(noise)["scores"] - exact
            ).max()
            for precision in ("fp32", "bf16")
        }
        assert gaps["fp32"] < 1e-5 < 1e-4 < gaps["bf16"] < 0.02


class TestChoice:
    def test_openvino_on_a_cpu(self, model_dir, caplog):
        with caplog.at_level(logging.INFO, "stocktake"):
            runner = load_runner(model_dir, ["fp32"], threads=3, lanes=8)
        assert (runner.engine, runner.device, runner.precision) == ("openvino", "cpu", "fp32")
        assert (runner.lanes, runner.max_batch) == (3, 1)
        assert runner.reason == "the fastest precision that its card allows here"
        assert f"{model_dir} is run by openvino on cpu in fp32: {runner.reason}" in caplog.text

    def test_one_lane_unless_more_are_asked_for(self, model_dir):
        assert load_runner(model_dir, ["fp32"], threads=2).lanes == 1

    def test_the_fastest_precision_of_this_cpu(self, model_dir):
        runner = load_runner(model_dir, ["fp32", "bf16"], threads=1)
        assert runner.precision == ("bf16" if CAN_BF16 else "fp32")

    def test_an_engine_that_is_asked_for(self, model_dir, monkeypatch):
        monkeypatch.setenv("STOCKTAKE_ENGINE", "onnxruntime")
        runner = load_runner(model_dir, ["fp32", "bf16"], threads=2, lanes=2)
        assert (runner.engine, runner.device, runner.precision, runner.lanes) == (
            "onnxruntime",
            "cpu",
            "fp32",
            2,
        )
        assert load_runner(model_dir, ["fp32"], threads=1, engine="openvino").engine == "openvino"

    def test_a_precision_that_is_asked_for(self, model_dir, monkeypatch):
        monkeypatch.setenv("STOCKTAKE_PRECISION", "fp32")
        runner = load_runner(model_dir, ["fp32", "bf16"], threads=1)
        assert (runner.precision, runner.reason) == ("fp32", "fp32 was asked for")

    def test_a_precision_that_the_card_forbids(self, model_dir, monkeypatch):
        message = r"model_card.json: precision is int8, but the card allows fp32, bf16 only"
        with pytest.raises(ModelError, match=message):
            load_runner(model_dir, ["fp32", "bf16"], precision="int8")
        monkeypatch.setenv("STOCKTAKE_PRECISION", "int8")
        with pytest.raises(ModelError, match=message):
            load_runner(model_dir, ["fp32", "bf16"])

    def test_a_precision_that_this_machine_does_not_have(self, model_dir):
        if "fp16" in precisions_here():
            pytest.skip("this machine has a GPU with TensorRT")
        with pytest.raises(SettingsError, match=r"precision is fp16, but here openvino computes in int8"):
            load_runner(model_dir, ["fp32", "fp16"], precision="fp16")
        assert load_runner(model_dir, ["fp32", "fp16"], threads=1).precision == "fp32"

    @pytest.mark.parametrize(
        ("name", "value"), [("STOCKTAKE_ENGINE", "torch"), ("STOCKTAKE_PRECISION", "int4")]
    )
    def test_what_nobody_has_is_refused(self, model_dir, monkeypatch, name, value):
        monkeypatch.setenv(name, value)
        with pytest.raises(SettingsError, match=f"{name}: .*found '{value}'"):
            load_runner(model_dir, ["fp32"])


@pytest.mark.skipif("int8" not in precisions_here(), reason="OpenVINO has no int8 on this CPU")
def test_a_model_whose_file_is_emptied_while_it_is_served(model_dir):
    command = [sys.executable, "-c", EMPTIED, model_dir / MODEL_FILE, model_dir / INT8_FILE, SIZE]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split()) == (0, ["1.0"]), done.stderr


class TestFallback:
    def test_a_file_for_int8_that_is_not_there(self, model_dir, caplog):
        with caplog.at_level(logging.INFO, "stocktake"):
            runner = load_runner(model_dir, ["fp32", "int8"], threads=1)
        assert (runner.engine, runner.precision) == ("openvino", "fp32")
        assert f"openvino cannot run it in int8: {model_dir / INT8_FILE}: cannot be loaded" in caplog.text
        assert str(model_dir) not in runner.reason  # which is in the metadata of a server
        with pytest.raises(ModelError, match=r"model.int8.xml: cannot be loaded"):
            load_runner(model_dir, ["fp32", "int8"], precision="int8")

    def test_a_model_that_openvino_cannot_run(self, model_dir):
        """It has no determinants."""
        model = onnx.load(model_dir / MODEL_FILE)
        model.graph.node.append(helper.make_node("Det", ["positive"], ["determinant"]))
        model.graph.output.append(helper.make_tensor_value_info("determinant", TensorProto.FLOAT, ["N", 1]))
        onnx.save(model, model_dir / MODEL_FILE)

        runner = load_runner(model_dir, ["fp32"], threads=1)

        assert (runner.engine, runner.device, runner.precision) == ("onnxruntime", "cpu", "fp32")
        assert runner.reason.startswith("openvino cannot run it in fp32, the log says why; ")
        assert runner.infer(photos_of(3)).keys() == {"boxes", "scores", "determinant"}

    @pytest.mark.parametrize(
        ("names", "arguments", "said"),
        [
            (["openvino"], "", "onnxruntime on cpu in fp32: openvino is not installed; the fastest"),
            (["onnxruntime"], 'precision="fp32"', "openvino on cpu in fp32: fp32 was asked for"),
            (
                ["openvino", "onnxruntime"],
                "",
                "refused: openvino is not installed; onnxruntime is not installed",
            ),
        ],
    )
    def test_engines_that_are_not_installed(self, tmp_path, names, arguments, said):
        assert run_without(tmp_path, names, arguments).startswith(said)

    def test_openvino_is_asked_for_but_not_installed(self, tmp_path, monkeypatch):
        monkeypatch.setenv("STOCKTAKE_ENGINE", "openvino")
        said = run_without(tmp_path, ["openvino"], "")
        assert said == "refused: openvino is not installed; install stocktake[predictor]"

    def test_a_precision_that_needs_openvino(self, tmp_path):
        said = run_without(tmp_path, ["openvino"], 'precision="bf16"')
        assert said == "refused: precision is bf16, but here onnxruntime computes in fp32"


@pytest.mark.skipif("fp16" in precisions_here(), reason="there is a GPU, and ONNX Runtime is built for it")
class TestWithoutGpu:
    def test_there_is_no_such_engine(self):
        with pytest.raises(EngineMissing, match=r"onnxruntime is not built for GPUs|there is no NVIDIA GPU"):
            find_gpu_engine()

    @pytest.mark.parametrize(
        ("precision", "provider"),
        [("fp32", "CUDAExecutionProvider"), ("fp16", "TensorrtExecutionProvider")],
    )
    @pytest.mark.filterwarnings("ignore:Specified provider")
    def test_a_provider_that_does_not_start_is_no_silent_cpu(self, model_dir, precision, provider):
        message = f"{provider} did not start, only CPUExecutionProvider"
        with pytest.raises(ModelError, match=message):
            load_on_gpu(model_dir, Wish(precision, 1, 1, ""))


def run_without(folder, names, arguments):
    """What a process says in which these packages can't be imported, about a model for fp32 and bf16."""
    model_dir = write_model_dir(folder / "model", precisions=["fp32", "bf16"])
    code = textwrap.dedent(WITHOUT).format(names=set(names), arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code, str(model_dir)], capture_output=True, text=True, timeout=300, check=True
    )
    return done.stdout.strip()


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "kind", "shape"),
        [("images", TensorProto.UINT8, 4), ("image", TensorProto.FLOAT, 4), ("image", TensorProto.UINT8, 3)],
    )
    @pytest.mark.parametrize("engine", [*ENGINES, None])
    def test_other_inputs(self, tmp_path, name, kind, shape, engine):
        value = helper.make_tensor_value_info(name, kind, [1] * shape)
        out = helper.make_tensor_value_info("same", kind, [1] * shape)
        graph = helper.make_graph([helper.make_node("Identity", [name], ["same"])], "graph", [value], [out])
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10),
            tmp_path / MODEL_FILE,
        )
        message = r"model.onnx: its inputs are .*export the model with stocktake"
        with pytest.raises(ModelError, match=message):
            load_runner(tmp_path, ["fp32"], engine=engine)

    @pytest.mark.parametrize("content", [None, b"", b"not a model"])
    @pytest.mark.parametrize("engine", [*ENGINES, None])
    def test_files_that_are_no_model(self, tmp_path, content, engine):
        if content is not None:
            (tmp_path / MODEL_FILE).write_bytes(content)
        with pytest.raises(ModelError, match=r"model.onnx: cannot be loaded"):
            load_runner(tmp_path, ["fp32"], engine=engine)
