import math
from array import array
from pathlib import Path

import pytest

from stocktake.errors import DataError
from stocktake.monitoring.presets import OURS
from stocktake.monitoring.recording import SERIES, Epoch, Operator, Recording, table
from stocktake.monitoring.results import plain
from tests.recordings import drawn_samples, with_gradients, with_losses


def a_recording() -> Recording:
    seen = with_losses([2.0, 1.0, math.nan, 0.5], [math.nan, 0.1, 0.2, 0.3])
    seen.gradients = with_gradients([[1.0, 0.5], [1.0, 0.25]], [True, False]).gradients
    seen.samples = drawn_samples("both of two work").samples
    seen.operators = [Operator("aten::mm", 3, 1.5, 0.0)]
    seen.epochs = [
        Epoch(1, 2.0, 2.5, steps=2, phases={"forward": 0.2}, steps_so_far=2, looks_so_far=1),
        Epoch(2, 1.0, None, 0.5, steps_so_far=4, looks_so_far=2),
    ]
    return seen


def test_is_read_as_it_was_written(tmp_path: Path) -> None:
    seen = a_recording()
    read = Recording.read(seen.write(tmp_path / "deep/recording.json"))
    assert repr(read.epochs) == repr(seen.epochs)
    assert read.operators == seen.operators
    assert [rule.check(read) for rule in OURS] == [rule.check(seen) for rule in OURS]
    read.steps.loss.append(1.0)  # and can grow
    read.samples.cpu.append(1.0)
    assert list(read.steps.step) == [0, 1, 2, 3]


def test_a_look_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    seen = a_recording()
    looks = len(seen.samples.cpu)
    seen.samples.gpu.append(seen.samples.gpu[0])
    del seen.samples.memory[-1:]
    read = Recording.read(seen.write(tmp_path / "recording.json")).samples
    assert [len(getattr(read, name)) for name in SERIES] == [looks - 1] * 5


def test_drops_what_came_after_an_epoch() -> None:
    seen = a_recording()
    seen.keep_epochs(1)
    assert [epoch.epoch for epoch in seen.epochs] == [1]
    assert list(seen.steps.loss) == [2.0, 1.0]
    assert len(seen.steps.step) == len(seen.steps.seconds) == 2
    assert seen.gradients.mean_abs == [[1.0, 0.5]]
    assert seen.gradients.step == array("q", [0])


def test_drops_an_epoch_that_was_cut_short_and_keeps_whole_ones() -> None:
    seen = a_recording()
    seen.steps.loss.extend([9.0, 9.0])
    seen.keep_epochs(2)
    assert len(seen.steps.loss) == 4
    seen.keep_epochs(0)
    assert not seen.epochs
    assert not len(seen.steps.loss)
    assert not seen.gradients.mean_abs


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": {}}'])
def test_another_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "recording.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"recording\.json: not a recording of a training"):
        Recording.read(path)


def test_a_table_without_rows_has_its_columns() -> None:
    assert table([], 3).shape == (0, 3)
    assert table([[1.0, 2.0]], 2).tolist() == [[1.0, 2.0]]
    assert plain({"x": 1}) == {"x": 1}
