"""What fails after a predictor has answered."""

import asyncio

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from serving.gateway.answering import Answering
from serving.gateway.errors import Away, Unavailable
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


def add_photo(records, **fields) -> str:
    size = {"size": 9, "width": 30, "height": 20, "format": "png", "sha256": "0" * 64}
    job = Job(owner="cam", task=Task.SHELVES, photos=[Photo(task=Task.SHELVES, **size, **fields)])
    with records.write() as session:
        session.add(job)
    return job.photos[0].id


def find(records, photo_id: str) -> Photo:
    with records.read() as session:
        return session.get_one(Photo, photo_id)


def test_a_fault_of_ours_is_tried_as_often_as_allowed_and_no_more(records, tmp_path, predictor_url):
    photo_id = add_photo(records)
    seen = []

    def observe(_session, photo):
        seen.append(photo.id)
        raise KeyError("kumquat")

    async def answer_twice():
        predictors = Predictors(load_gateway_settings(shelves_url=predictor_url))
        answering = Answering(records, open_store(str(tmp_path)), predictors, 2, observe)
        with pytest.raises(Unavailable, match="a fault of the gateway: KeyError"):
            await answering.answer(photo_id, shelf_photo())
        await answering.answer(photo_id, shelf_photo())
        await answering.answer(photo_id, shelf_photo())
        await predictors.close()

    asyncio.run(answer_twice())
    photo = find(records, photo_id)
    assert (photo.state, photo.attempts, photo.report) == (State.DEAD, 2, None)
    assert len(seen) == 2


@pytest.mark.parametrize("ended", [False, True])
def test_records_that_go_while_a_photo_is_answered_cost_it_no_attempt(
    records, tmp_path, predictor_url, ended
):
    """They go when the answer is to be kept, or the worker ends then, and they take nothing for a while."""
    photo_id = add_photo(records)
    away = False

    @event.listens_for(records.engine, "begin")
    def _(_connection):
        if away:
            raise OperationalError("BEGIN", None, Exception("gone"))

    def observe(_session, _photo):
        nonlocal away
        away = True
        if ended:
            raise asyncio.CancelledError
        raise OperationalError("UPDATE", None, Exception("gone"))

    async def flap():
        nonlocal away
        predictors = Predictors(load_gateway_settings(shelves_url=predictor_url))
        answering = Answering(records, open_store(str(tmp_path)), predictors, 2, observe)
        for _ in range(4):
            away = False
            with pytest.raises(asyncio.CancelledError if ended else Away):
                await answering.answer(photo_id, shelf_photo())
            with pytest.raises(Away):
                await answering.tell()
        away = False
        await answering.tell()
        await predictors.close()

    asyncio.run(flap())
    photo = find(records, photo_id)
    assert (photo.state, photo.attempts, photo.error) == (State.QUEUED, 0, "the records were away")


def test_a_photo_over_which_workers_died_is_answered_alone(records, tmp_path):
    """Whatever it does then costs no other photo an attempt, and what others do costs it none."""
    honest, suspect = add_photo(records), add_photo(records, state=State.RUNNING, attempts=2)
    served, begun, refused = [], [], asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await refused.wait()
        served.append(find(records, suspect).attempts)
        said = b'{"error": "no photo"}'
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(said)
        writer.write(head + said)
        await writer.drain()
        writer.close()

    @event.listens_for(records.engine, "before_cursor_execute")
    def _(_connection, _cursor, statement, *_):
        begun.append(statement.startswith("UPDATE"))

    @event.listens_for(records.engine, "checkin")
    def _(*_):
        if sum(begun) >= 2 and not refused.is_set():  # both were tried
            loop.call_soon_threadsafe(refused.set)

    async def answer_both():
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(90):
            port = server.sockets[0].getsockname()[1]
            predictors = Predictors(load_gateway_settings(shelves_url=f"http://127.0.0.1:{port}"))
            answering = Answering(records, open_store(str(tmp_path)), predictors, 5, lambda *_: None)
            both = [answering.answer(photo_id, shelf_photo()) for photo_id in (honest, suspect)]
            await asyncio.gather(*both)
            await predictors.close()

    loop: asyncio.AbstractEventLoop | None = None
    asyncio.run(answer_both())
    assert [find(records, each).attempts for each in (honest, suspect)] == [1, 3]
    assert served == [2, 3]
