from pathlib import Path

import pytest

from stocktake import run_folder
from stocktake.errors import ModelError, SettingsError
from stocktake.shelf.run_folder import open_run


class TestRunFolder:
    def test_same_identity_same_folder_another_the_next(self, tmp_path: Path) -> None:
        first = open_run(tmp_path, "exp", {"seed": 0}, resume=True)
        assert first.path == tmp_path / "exp"
        assert open_run(tmp_path, "exp", {"seed": 0}, resume=True) == first
        assert open_run(tmp_path, "exp", {"seed": 1}, resume=True).path == tmp_path / "exp2"
        assert open_run(tmp_path, "exp", {"seed": 1}, resume=True).path == tmp_path / "exp2"
        assert open_run(tmp_path, "exp", {"seed": 0}, resume=False).path == tmp_path / "exp3"

    def test_a_folder_of_something_else_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "exp").mkdir()
        (tmp_path / "exp/notes.txt").write_text("mine")
        assert open_run(tmp_path, "exp", {"seed": 0}, resume=True).path == tmp_path / "exp2"

    def test_a_damaged_checkpoint_is_named(self, tmp_path: Path) -> None:
        run = open_run(tmp_path, "exp", {}, resume=True)
        run.last.parent.mkdir()
        run.last.write_bytes(b"cut off")
        with pytest.raises(ModelError, match=r"last\.pt"):
            run.state()

    def test_two_at_once_are_refused_and_one_after_the_other_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_folder, "LEAVE_SECONDS", 0.3)
        run = open_run(tmp_path, "exp", {}, resume=True)
        with (
            run.hold(),
            pytest.raises(SettingsError, match=r"exp: another process is training there"),
            run.hold(),
        ):
            pass
        with run.hold():
            pass
