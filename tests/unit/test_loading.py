import logging
import shutil

import pytest

from stocktake.shelf import loading
from stocktake.shelf.loading import loading_workers
from stocktake.shelf.train_settings import TrainSettings

MB = 10**6


@pytest.fixture
def shared(monkeypatch, tmp_path):
    """Pretend that shared memory has so many bytes free, and the machine 4 cores."""
    monkeypatch.setattr(loading, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda process: set(range(4)))

    def give(free):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(loading.shutil, "disk_usage", lambda path: usage)

    return give


@pytest.mark.parametrize(
    ("settings", "free", "workers"),
    [
        (TrainSettings(), 8000 * MB, 4),
        (TrainSettings(workers=12), 8000 * MB, 12),
        (TrainSettings(workers=0), 0, 0),
        (TrainSettings(device="cpu,cpu"), 8000 * MB, 2),
        (TrainSettings(img=160, batch=4), 64 * MB, 4),
        (TrainSettings(img=640, batch=16), 64 * MB, 0),
        (TrainSettings(img=640, batch=16), 500 * MB, 2),
        (TrainSettings(img=640, batch=-1), 1000 * MB, 1),
    ],
)
def test_workers_are_as_many_as_cores_and_shared_memory_allow(shared, settings, free, workers):
    shared(free)
    assert loading_workers(settings) == workers


def test_fewer_workers_are_said(shared, caplog):
    shared(64 * MB)
    with caplog.at_level(logging.WARNING):
        loading_workers(TrainSettings(img=640, batch=16))
    assert "64 MB free, which is enough for 0 of 4" in caplog.text
    assert "--shm-size" in caplog.text


def test_a_system_without_such_a_folder_is_left_alone(shared, monkeypatch, tmp_path):
    shared(0)
    monkeypatch.setattr(loading, "SHARED_MEMORY", tmp_path / "missing")
    assert loading_workers(TrainSettings()) == 4
