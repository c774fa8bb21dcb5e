import pytest

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.cli import build_parser, main
from stocktake.verbs import read_settings
from tests.plain_bins import write_bins


@pytest.fixture(autouse=True)
def _own_places(tmp_path, tracked, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "store"))


def parse(*flags):
    return build_parser().parse_args(["bins", "train", "--data", "bins", *flags])


def test_every_flag_of_the_starter_is_taken():
    options = parse("--lr", "0.0038", "--batch-size", "256", "--epochs", "8", "--test-batch-size", "100")
    settings = read_settings(options, BinTrainSettings)
    assert settings == BinTrainSettings(lr=0.0038, batch_size=256, epochs=8, test_batch_size=100)


def test_no_flags_are_the_defaults():
    assert read_settings(parse(), BinTrainSettings) == BinTrainSettings()


def test_yes_and_no_are_flags_without_a_value():
    assert read_settings(parse("--freeze"), BinTrainSettings).freeze


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--lr", "0"], "lr is 0.0"),
        (["--lr", "nan"], "lr is nan"),
        (["--batch-size", "3"], "batch_size is 3"),
        (["--device", "63"], "usable GPUs"),
        (["--weights", "nowhere.pt"], "weights is 'nowhere.pt'"),
    ],
)
def test_an_impossible_setting_is_one_line_before_any_work(tmp_path, capsys, flags, named):
    write_bins(tmp_path / "bins", 2)
    command = ["bins", "train", "--data", str(tmp_path / "bins"), "--project", str(tmp_path / "runs")]
    assert main([*command, *flags]) == 1
    said = capsys.readouterr().err.strip()
    assert named in said
    assert "\n" not in said
    assert not (tmp_path / "runs").exists()


def test_a_batch_larger_than_the_data_is_named(tmp_path, capsys):
    write_bins(tmp_path / "bins", 60, run=1)
    command = ["bins", "train", "--data", str(tmp_path / "bins"), "--project", str(tmp_path / "runs")]
    assert main([*command, "--weights", "none", "--img", "32", "--batch-size", "512"]) == 1
    assert "batch_size is 512, but the index has" in capsys.readouterr().err
