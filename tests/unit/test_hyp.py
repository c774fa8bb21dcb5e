import logging
from pathlib import Path

import pytest
import yaml

from stocktake.errors import SettingsError
from stocktake.shelf.hyp import hyp_names, load_hyp

CLASSIC = """
lr0: 0.02
lrf: 0.1
momentum: 0.9
box: 0.05
cls: 0.5
cls_pw: 1.0
obj: 1.0
obj_pw: 1.0
iou_t: 0.20
anchor_t: 4.0
fl_gamma: 0.0
mosaic: 1.0
copy_paste: 0.1
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", ["low", "med", "high", "quick"])
def test_ours_are_complete_and_taken_by_ultralytics(name: str) -> None:
    from stocktake.shelf.ultralytics_setup import load_ultralytics

    load_ultralytics()
    from ultralytics.cfg import get_cfg

    hyp = load_hyp(name)
    assert not hyp.ignored
    values = {key: value for key, value in hyp.values.items() if key != "accumulate"}
    assert vars(get_cfg(overrides=values)).items() >= values.items()
    assert hyp.values["optimizer"] != "auto"  # which would override lr0
    assert hyp.values["flipud"] == 0


def test_augmentation_grows_from_low_to_high() -> None:
    low, med, high = (load_hyp(name).values for name in ("low", "med", "high"))
    for key in ("degrees", "scale", "mixup"):
        assert low[key] < med[key] < high[key]
    assert hyp_names() == ["high", "low", "med", "quick"]


def test_a_classic_file_is_mapped_and_what_is_gone_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        hyp = load_hyp(write(tmp_path, CLASSIC))
    assert hyp.values == {"lr0": 0.02, "lrf": 0.1, "momentum": 0.9, "mosaic": 1.0, "optimizer": "SGD"}
    gone = {"box", "cls", "cls_pw", "obj", "obj_pw", "iou_t", "anchor_t", "fl_gamma", "copy_paste"}
    assert hyp.ignored.keys() == gone
    assert all(any(key in record.getMessage() for record in caplog.records) for key in gone)


def test_gains_of_a_file_in_todays_terms_are_kept(tmp_path: Path) -> None:
    assert load_hyp(write(tmp_path, "box: 9.0\ncls: 0.7\n")).values == {"box": 9.0, "cls": 0.7}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("lr0: -1", "lr0 is -1"),
        ("lr0: 0", "lr0 is 0"),
        ("lr0: fast", "lr0 is 'fast'"),
        ("lr0: .nan", "lr0 is nan"),
        ("lr0: true", "lr0 is True"),
        ("mosaic: 2", "mosaic is 2"),
        ("optimizer: best", "optimizer is 'best'"),
        ("learning_rate: 0.1", "unknown key 'learning_rate'"),
        ("- lr0", "found list"),
        ("", "found NoneType"),
        ("a: [", "not YAML"),
    ],
)
def test_an_impossible_file_is_one_clear_error(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match="hyp") as caught:
        load_hyp(write(tmp_path, text))
    assert named in str(caught.value)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes("# Grösse\nlr0: 0.01\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"own\.yaml: not text in UTF-8"):
        load_hyp(str(path))


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="high, low, med, quick"):
        load_hyp(str(tmp_path / "missing.yaml"))


def test_files_hold_plain_numbers() -> None:
    for name in hyp_names():
        text = Path(__file__).parents[2].joinpath(f"src/stocktake/shelf/hyp/{name}.yaml").read_text()
        assert yaml.safe_load(text) == load_hyp(name).values
