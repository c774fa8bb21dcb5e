"""What fails after a predictor has answered."""

import asyncio

import pytest

from serving.gateway.answering import Answering
from serving.gateway.errors import Unavailable
from serving.gateway.predictors import Predictors
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Job, Photo, State, Task
from serving.gateway.settings import load_gateway_settings
from stocktake.storage import open_store
from tests.gateway_thread import shelf_photo


@pytest.fixture
def records(tmp_path):
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    yield records
    records.close()


def test_a_fault_of_ours_is_tried_as_often_as_allowed_and_no_more(records, tmp_path, predictor_url):
    size = {"size": 9, "width": 30, "height": 20, "format": "png", "sha256": "0" * 64}
    job = Job(owner="cam", task=Task.SHELVES, photos=[Photo(task=Task.SHELVES, **size)])
    with records.write() as session:
        session.add(job)
    seen = []

    def observe(_session, photo):
        seen.append(photo.id)
        raise KeyError("kumquat")

    async def answer_twice():
        predictors = Predictors(load_gateway_settings(shelves_url=predictor_url))
        answering = Answering(records, open_store(str(tmp_path)), predictors, 2, observe)
        with pytest.raises(Unavailable, match="a fault of the gateway: KeyError"):
            await answering.answer(job.photos[0].id, shelf_photo())
        await answering.answer(job.photos[0].id, shelf_photo())
        await answering.answer(job.photos[0].id, shelf_photo())
        await predictors.close()

    asyncio.run(answer_twice())
    with records.read() as session:
        photo = session.get_one(Photo, job.photos[0].id)
    assert (photo.state, photo.attempts, photo.report) == (State.DEAD, 2, None)
    assert len(seen) == 2
