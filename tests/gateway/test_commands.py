"""What administrators type."""

import asyncio
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from pydantic import SecretStr

from serving.gateway import commands
from serving.gateway.access import Access, Role
from serving.gateway.queue import open_queue
from serving.gateway.records import photos
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Job, Photo, State, Task
from serving.gateway.settings import load_gateway_settings
from stocktake.errors import SettingsError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path):
    places = {"database": f"sqlite:///{tmp_path}/records.db", "photos": str(tmp_path / "photos")}
    return load_gateway_settings(tokens=tmp_path / "tokens.yaml", redis=None, **places)


def test_tokens(settings, capsys):
    commands.token_add(settings, Namespace(name="anna", role=Role.OPERATOR, store=["north", "south"]))
    token = capsys.readouterr().out.strip()
    assert Access(settings.tokens).by_token(token).stores == {"north", "south"}
    commands.token_add(settings, Namespace(name="boss", role=Role.ADMIN, store=None))
    capsys.readouterr()
    commands.token_list(settings, Namespace())
    assert capsys.readouterr().out == "anna operator north, south\nboss admin all stores\n"
    commands.token_remove(settings, Namespace(name="anna"))
    with pytest.raises(SettingsError, match="no token 'anna'"):
        commands.token_remove(settings, Namespace(name="anna"))


def test_dead_photos(settings, redis, capsys):
    commands.migrate(settings, Namespace())
    records = Records(settings.database)
    photo = Photo(task=Task.BINS, sha256="0" * 64, size=9, width=3, height=2, format="jpeg", store="dc")
    with records.write() as session:
        session.add(Job(owner="cam", task=Task.BINS, photos=[photo]))
    with records.write() as session:
        photos.give_up(session, photo.id, State.DEAD, "no predictor")
    commands.dead(settings, Namespace(retry=False))
    assert capsys.readouterr().out == f"{photo.id} {photo.job_id} dc no predictor\n"
    with pytest.raises(SettingsError, match="REDIS is not set"):
        commands.dead(settings, Namespace(retry=True))
    settings = settings.model_copy(update={"redis": SecretStr(redis.url)})
    commands.dead(settings, Namespace(retry=True))
    capsys.readouterr()
    commands.dead(settings, Namespace(retry=False))
    assert capsys.readouterr().out == ""
    with records.read() as session:
        assert session.get_one(Photo, photo.id).state == State.QUEUED
    records.close()
    assert asyncio.run(held(settings)) == {photo.id}


async def held(settings):
    async with open_queue(settings) as queue:
        return await queue.held()


def test_the_command_line_says_what_is_wrong(tmp_path):
    def run(*words, **env):
        command = [sys.executable, "-m", "serving.gateway", *words]
        return subprocess.run(
            command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}/src", **env}, capture_output=True, text=True
        )

    refused = run("expire", STOCKTAKE_GATEWAY_DATABASE="nonsense")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: STOCKTAKE_GATEWAY_DATABASE: ")
    assert "python -m serving.gateway serve" in run("--help").stdout
