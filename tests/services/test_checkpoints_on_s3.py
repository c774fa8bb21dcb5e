from pathlib import Path

import pytest

from tests.small_training import draw_index, lose_disk_and_continue


@pytest.mark.long
def test_a_training_whose_disk_is_gone_continues_from_the_store(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    told = lose_disk_and_continue(draw_index(tmp_path), tmp_path, f"s3://{bucket}/store", monkeypatch)
    assert told[0] > 1
    assert told == [told[0], told[0] + 1]
