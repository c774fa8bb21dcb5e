import shutil
import zipfile
from pathlib import Path

import pytest

from pipelines.catalogue import PIPELINES, find
from pipelines.parameters import Parameter, read_file, resolve, split_assignments
from stocktake.code_version import code_version
from stocktake.errors import DataError, ModelError, SettingsError
from stocktake.shelf.weights import starter_path

SHELVES = PIPELINES["shelf_detector"]


def parameter(kind: str) -> Parameter:
    return Parameter("size", kind, None, True, "")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("String", "5", "5"), ("String", "it's python3", "it's python3"), ("Integer", "5", 5),
        ("Integer", "-1", -1), ("Float", "5", 5.0), ("Float", "1e-3", 0.001), ("Boolean", "yes", True),
        ("Boolean", "False", False), ("List", "[1, 2]", [1, 2]), ("Dict", '{"a": 1}', {"a": 1}),
    ],
)  # fmt: skip
def test_a_text_is_read_by_the_declared_type(kind, text, value):
    parsed = parameter(kind).parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Integer", "five"),
        ("Integer", "5.5"),
        ("Integer", "true"),
        ("Float", "''"),
        ("Boolean", "1"),
        ("List", "{}"),
    ],
)
def test_a_text_of_another_type_is_an_error_that_names_it(kind, text):
    with pytest.raises(SettingsError, match="parameter size must be"):
        parameter(kind).parse(text)


def test_a_value_of_a_file_has_the_declared_type_too():
    with pytest.raises(SettingsError, match="epochs must be a whole number, found '5'"):
        SHELVES.arguments({"source": "s3://x", "epochs": "5"})


def test_every_parameter_gets_a_value_and_the_command_line_wins():
    arguments = SHELVES.arguments({"source": "s3://photos/x", "epochs": 5, "img": 320}, {"img": "416"})
    assert arguments.keys() == SHELVES.parameters.keys()
    assert (arguments["source"], arguments["epochs"], arguments["img"]) == ("s3://photos/x", 5, 416)
    assert arguments["code_version"] == code_version()


def test_an_unknown_name_is_answered_with_the_closest_and_all_others():
    with pytest.raises(SettingsError, match="no parameter epoch: did you mean epochs") as error:
        SHELVES.arguments({"source": "x"}, {"epoch": "3"})
    assert all(name in str(error.value) for name in SHELVES.parameters)


@pytest.mark.parametrize("values", [{}, {"source": ""}])
def test_a_missing_value_is_an_error_with_the_words_to_add(values):
    with pytest.raises(SettingsError, match="--param source="):
        SHELVES.arguments(values)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "0"), ("img", "100"), ("batch", "0"), ("hyp", "lots"), ("gpus", "-1"), ("limit", "-1"),
        ("pods", "0"),
        ("exclude", "some"), ("split", "tst"), ("cache", "tape"), ("freeze", "99"), ("model", "xl"),
        ("node_selector", '{"pool": 1}'), ("tolerations", '[{"keys": "spot"}]'), ("tolerations", '["spot"]'),
        ("gpu_type", " "), ("weights", "yolov8n.pt"), ("weights", "nowhere/best.pt"), ("hyp", "nowhere.yaml"),
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_before_any_work(name, text):
    with pytest.raises(SettingsError, match=name):
        SHELVES.arguments({"source": "s3://x"}, {name: text})


def test_a_name_that_no_service_could_bear_is_refused():
    with pytest.raises(ModelError, match="Shelf Detector"):
        SHELVES.arguments({"source": "s3://x"}, {"model_name": "Shelf Detector"})


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "nowhere: there is no such folder"), ("ftp://host/photos.tar", "scheme 'ftp' is unknown")],
)
def test_a_source_that_cannot_be_read_is_refused_before_any_work(source, message):
    with pytest.raises(DataError, match=message):
        SHELVES.arguments({"source": source})


def test_weights_of_another_kind_or_size_are_refused_before_any_work(tmp_path):
    with zipfile.ZipFile(tmp_path / "old.pt", "w") as file:
        file.writestr("old/data.pkl", b"cmodels.yolo\nDetectionModel\n")
    with pytest.raises(ModelError, match="classic YOLOv5"):
        SHELVES.arguments({"source": "s3://x", "weights": str(tmp_path / "old.pt")})
    with pytest.raises(SettingsError, match="name only one"):
        SHELVES.arguments({"source": "s3://x", "weights": "starter", "model": "s"})


def test_gpus_must_be_on_this_machine_only_where_the_steps_run_on_it():
    values = {"source": "s3://x", "gpus": 64, "batch": 64}
    with pytest.raises(SettingsError, match="this machine has"):
        SHELVES.arguments(values)
    assert SHELVES.arguments(values, here=False)["gpus"] == 64


def test_paths_become_absolute_and_addresses_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shutil.copy(starter_path(), tmp_path / "mine.pt")
    arguments = SHELVES.arguments({"source": "photos", "weights": "mine.pt"})
    assert arguments["source"] == str(tmp_path / "photos")
    assert arguments["weights"] == str(tmp_path / "mine.pt")
    assert SHELVES.arguments({"source": "photos"})["weights"] == "yolov5s.pt"
    assert SHELVES.arguments({"source": "s3://b/photos"})["source"] == "s3://b/photos"


def test_a_cluster_is_not_given_paths_of_this_machine(tmp_path):
    with pytest.raises(SettingsError, match=r"source .* cannot read"):
        SHELVES.arguments({"source": str(tmp_path)}, here=False)
    SHELVES.arguments({"source": "https://example.org/photos.tar.gz"}, here=False)


def test_a_parameter_file(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("epochs: 3\nweights: scratch\n")
    assert read_file(path) == {"epochs": 3, "weights": "scratch"}
    path.write_text("")
    assert read_file(path) == {}


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [1\n", "just words"])
def test_a_file_that_is_no_mapping_is_an_error_that_names_it(content, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"params\.yaml"):
        read_file(path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.yaml"):
        read_file(tmp_path / "absent.yaml")


def test_assignments():
    assert split_assignments(["a=1", "b=x=y", "a=2", "c="]) == {"a": "2", "b": "x=y", "c": ""}
    with pytest.raises(SettingsError, match="key=value"):
        split_assignments(["a"])


def test_resolve_keeps_the_declared_order():
    parameters = {name: Parameter(name, "Integer", 1, False, "") for name in ("b", "a")}
    assert list(resolve(parameters, {"a": 2})) == ["b", "a"]


def test_pipelines_are_found_by_either_spelling():
    assert find("shelf-detector") is find("shelf_detector")
    with pytest.raises(SettingsError, match="did you mean shelf_detector"):
        find("shelf_detecter")


@pytest.mark.parametrize("name", ["smoke", "demo", "full"])
def test_the_parameter_files_fit_the_pipeline(name):
    path = Path(__file__).parents[2] / f"pipelines/params/{name}.yaml"
    if not path.exists():
        pytest.fail(f"{path} is missing")
    SHELVES.arguments({"source": "s3://x", **read_file(path)})


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [
        ("bin_counter", "bins_smoke"),
        ("bin_search", "bins_smoke"),
        ("bin_search", "bins_demo"),
        ("bin_counter", "bins_full"),
        ("bin_search", "bins_full"),
    ],
)
def test_the_parameter_files_fit_the_pipelines_of_bins(pipeline, name):
    values = read_file(Path(__file__).parents[2] / f"pipelines/params/{name}.yaml")
    find(pipeline).arguments({"source": "s3://x", **values}, here=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epochs", "0"), ("img", "8"), ("batch_size", "0"), ("lr", "0"), ("lr", "NaN"), ("gpus", "-1"),
        ("quota", "-1"), ("classes", "[3]"), ("classes", "[1, 1, 2]"), ("head", "sigmoid"), ("amp", "int8"),
        ("split", "tst"), ("rules", "none"), ("stop_on", "Overfitting"), ("weights", "nowhere/best.pt"),
        ("space", "swans"), ("trials", "-1"), ("workers", "0"),
        ("pods", "0"), ("engine", "grid"), ("batch_size", "34"), ("nodes", "0"),
    ],
)  # fmt: skip
def test_an_impossible_value_for_bins_is_refused_before_any_work(name, text):
    with pytest.raises(SettingsError, match=name if name != "space" else "no such search space"):
        find("bin_search").arguments({"source": "s3://x", "gpus": 4}, {name: text}, here=False)


@pytest.mark.parametrize(("name", "value"), [("nodes", 4), ("engine", "katib")])
def test_what_is_for_clusters_is_refused_here(tmp_path, name, value):
    given = {"source": str(tmp_path), "gpus": 0, "batch_size": 32, name: value}
    with pytest.raises(SettingsError, match=f"{name} is .* on this machine"):
        find("bin_search").arguments(given)
    find("bin_search").arguments({**given, "source": "s3://x"}, here=False)


def test_a_trainjob_is_refused_here(tmp_path):
    given = {"source": str(tmp_path), "gpus": 0, "weights": "scratch", "model": "n", "trainjob": True}
    with pytest.raises(SettingsError, match="trainjob is True; it must be false on this machine"):
        find("shelf_detector").arguments(given)
    find("shelf_detector").arguments({**given, "source": "s3://x"}, here=False)


def test_a_space_and_a_parameter_that_disagree_are_refused(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "metric: val/accuracy\ngoal: maximize\nparameters: {lr: {low: 0.001, high: 0.1}}\nfixed: {img: 96}\n"
    )
    given = {"source": str(tmp_path), "space": str(tmp_path / "space.yaml"), "gpus": 0, "weights": "none"}
    with pytest.raises(SettingsError, match=r"fixed\.img is 96, but img is 224"):
        find("bin_search").arguments(given)
    assert find("bin_search").arguments({**given, "img": 96})["img"] == 96
