"""One training of a tiny counter, for all tests that look at one."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stocktake.bins.training import TrainResult, train
from tests.tiny_counter_training import SETTINGS, write_index


@pytest.fixture(scope="session")
def index_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_index(tmp_path_factory.mktemp("data") / "bins")


@pytest.fixture(scope="session")
def photo_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cached_photos(photo_cache: Path) -> Iterator[None]:
    """Trainings of a module find what others have fetched and decoded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCKTAKE_CACHE", str(photo_cache))
        yield


@pytest.fixture(scope="session")
def trained(
    index_path: Path, photo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainResult, list[Any], list[Any]]:
    """One training, with every epoch's metrics and every address that it tried to reach."""
    folder = tmp_path_factory.mktemp("trained")
    told: list[Any] = []
    reached: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCKTAKE_CACHE", str(photo_cache))
        patch.setattr(socket.socket, "connect", lambda _socket, address: reached.append(address))
        patch.setattr(socket, "getaddrinfo", lambda *address, **_: reached.append(address))
        result = train(
            index_path, folder / "model", SETTINGS, folder / "runs", lambda *epoch: told.append(epoch)
        )
    return result, told, reached
