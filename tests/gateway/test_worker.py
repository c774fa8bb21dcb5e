"""A worker between a real Redis and a real predictor."""

import asyncio
import contextlib
import hashlib
import inspect
import signal
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import select

from serving.gateway.answering import photo_key
from serving.gateway.gateway import Gateway, open_gateway
from serving.gateway.records import photos
from serving.gateway.records.tables import Job, Photo, Priority, State, Task
from serving.gateway.settings import load_gateway_settings
from serving.gateway.worker import backoff_s, work
from stocktake.errors import SettingsError
from tests.fixed_server import FixedServer
from tests.gateway_site import Site, encode_png
from tests.ports import free_port
from tests.tiny_counter import draw_bin
from tests.tiny_model import draw_photo

QUICK = {"retry_s": 0.2, "retry_at_most_s": 1, "reclaim_s": 2, "reconcile_s": 1, "deadline_s": 20}


@pytest.fixture
def site(predictor_url, tmp_path):
    """A Redis and a predictor that run, a worker that can be started."""
    urls = dict.fromkeys(("shelves_url", "bins_url"), predictor_url)
    site = Site(tmp_path / "own", **QUICK, **urls)
    site.redis.start()
    yield site
    site.stop()


@contextlib.asynccontextmanager
async def gateway_of(site: Site, **more) -> AsyncIterator[Gateway]:
    async with open_gateway(load_gateway_settings(**{**site.settings, **more})) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def worker_of(gateway: Gateway) -> AsyncIterator[None]:
    task = asyncio.create_task(work(gateway, "127.0.0.1", free_port()))
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def submit(gateway: Gateway, count: int, task: Task = Task.SHELVES, **fields) -> list[str]:
    """Photos in store, records and queue; the ids."""
    job = Job(owner="cam", task=task, **fields)
    for place in range(count):
        data = encode_png(draw_photo([(place % 8, 1)]) if task == Task.SHELVES else draw_bin(place % 5 + 1))
        sha256 = hashlib.sha256(data).hexdigest()
        gateway.store.put(photo_key(sha256), data)
        size = {"size": len(data), "width": 128, "height": 128, "format": "png"}
        job.photos.append(Photo(place=place, task=task, sha256=sha256, **size))
    with gateway.records.write() as session:
        photos.add(session, job)
    photo_ids = [photo.id for photo in job.photos]
    await gateway.queue.put(photo_ids, job.priority or Priority.NORMAL)
    return photo_ids


def states(gateway: Gateway) -> list[State]:
    with gateway.records.read() as session:
        return list(session.scalars(select(Photo.state).order_by(Photo.job_id, Photo.place)))


async def until(true, seconds: float = 90.0) -> None:
    async with asyncio.timeout(seconds):
        while not (await result if inspect.isawaitable(result := true()) else result):
            await asyncio.sleep(0.05)


def all_are(gateway: Gateway, state: State):
    return lambda: set(states(gateway)) == {state}


def test_photos_are_answered_and_leave_the_queue(site):
    async def check():
        async with gateway_of(site) as gateway, worker_of(gateway):
            photo_ids = await submit(gateway, 30)
            await submit(gateway, 5, Task.BINS)
            await until(all_are(gateway, State.DONE))
            await until(lambda: is_empty(gateway))
            with gateway.records.read() as session:
                first = session.get_one(Photo, photo_ids[0])
                assert (first.report["products"], first.attempts) == (1, 1)
                assert first.job.finished_at

    asyncio.run(check())


async def is_empty(gateway: Gateway) -> bool:
    return await gateway.queue.waiting() == 0


def test_what_is_urgent_comes_first(site):
    async def check():
        async with gateway_of(site, photos_in_flight=1) as gateway:
            for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
                await submit(gateway, 4, priority=priority)
            async with worker_of(gateway):
                await until(all_are(gateway, State.DONE))
            query = select(Job.priority).join(Photo.job).order_by(Photo.answered_at)
            with gateway.records.read() as session:
                order = session.scalars(query).all()
            assert order == ["high"] * 4 + ["normal"] * 4 + ["low"] * 4

    asyncio.run(check())


def test_a_proxy_that_refuses_a_photo_is_asked_as_often_as_allowed(site):
    """A photo that is too large for it is not lost: once its limit is raised, it can be tried again."""

    async def check():
        with FixedServer(413) as proxy:
            async with gateway_of(site, attempts=2, shelves_url=proxy.url) as gateway, worker_of(gateway):
                await submit(gateway, 2)
                await until(all_are(gateway, State.DEAD))
                assert attempts(gateway) == [2, 2]
                assert set(errors(gateway)) == {
                    "what stands before shelf-detector refuses the photo: HTTP 413"
                }

    asyncio.run(check())


def test_a_predictor_that_is_away_costs_no_photo(site):
    async def check():
        nowhere = f"http://127.0.0.1:{free_port()}"
        async with gateway_of(site, attempts=1, shelves_url=nowhere) as gateway:
            photo_ids = await submit(gateway, 2)
            async with worker_of(gateway):
                told = {"shelf-detector cannot be reached: ClientConnectorError"}
                await until(lambda: set(errors(gateway)) == told)
            async with gateway_of(site, attempts=1) as again, worker_of(again):
                await until(all_are(again, State.DONE))
            assert len(photo_ids) == 2

    asyncio.run(check())


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_token_model_or_address_costs_no_photo(site, status):
    """However often it is asked meanwhile; why nothing moves is said of each photo."""

    async def check():
        with FixedServer(status) as wrong:
            async with gateway_of(site, attempts=1, shelves_url=wrong.url) as gateway:
                await submit(gateway, 2)
                async with worker_of(gateway):
                    await until(lambda: wrong.asked >= 4)
                    await until(all_are(gateway, State.QUEUED))
                assert set(errors(gateway)) == {f"shelf-detector cannot be asked: HTTP {status}"}
                assert attempts(gateway) == [0, 0]
            async with gateway_of(site, attempts=1) as again, worker_of(again):
                await until(all_are(again, State.DONE))

    asyncio.run(check())


def errors(gateway: Gateway) -> list[str | None]:
    with gateway.records.read() as session:
        return list(session.scalars(select(Photo.error)))


def test_redis_goes_and_comes_back(site):
    async def check():
        async with gateway_of(site) as gateway, worker_of(gateway):
            await submit(gateway, 5)
            site.redis.kill()
            await until(lambda: gateway.queue.problem is not None)
            site.redis.start()
            await until(all_are(gateway, State.DONE))
            await until(lambda: gateway.queue.problem is None)
            await submit(gateway, 5)
            await until(all_are(gateway, State.DONE))

    asyncio.run(check())


def test_redis_is_away_when_the_worker_starts_and_has_forgotten_everything(site, caplog):
    async def check():
        async with gateway_of(site) as gateway:
            await submit(gateway, 5)
            site.redis.kill()
            for file in (site.folder / "redis").rglob("*.aof*"):
                file.unlink()
            async with worker_of(gateway):
                await until(lambda: "Redis does not answer; trying again" in caplog.text)
                assert set(states(gateway)) == {State.QUEUED}
                site.redis.start()
                await until(all_are(gateway, State.DONE))

    asyncio.run(check())


@pytest.mark.long
def test_a_signal_ends_it_when_what_runs_is_finished(site):
    async def check():
        async with gateway_of(site) as gateway:
            await submit(gateway, 80)
            site.worker.start()
            await until(lambda: State.DONE in states(gateway))
            assert site.worker.terminate() == 0
            assert State.RUNNING not in states(gateway)
            assert State.QUEUED in states(gateway)
            async with worker_of(gateway):  # at once, not after `reclaim_s`
                await until(all_are(gateway, State.DONE))

    asyncio.run(check())


@pytest.mark.long
def test_another_worker_takes_the_photos_of_a_dead_one(site):
    async def check():
        async with gateway_of(site) as gateway:
            await submit(gateway, 40)
            site.worker.start(wait=False)
            await until(lambda: State.RUNNING in states(gateway))
            site.worker.kill()
            async with worker_of(gateway):
                await until(all_are(gateway, State.DONE))
                await until(lambda: is_empty(gateway))

    asyncio.run(check())


@pytest.mark.long
def test_a_photo_over_which_workers_die_is_given_up(site):
    """As where one needs too much memory; a predictor that says nothing holds it for long enough."""

    async def check(silent: str):
        settings = {"attempts": 2, "shelves_url": silent, "deadline_s": 600}
        async with gateway_of(site, **settings) as gateway:
            await submit(gateway, 1)
            for name, value in settings.items():
                site.worker._env[f"STOCKTAKE_GATEWAY_{name.upper()}"] = str(value)
            for attempt in (1, 2):
                site.worker.start(wait=False)
                await until(lambda attempt=attempt: attempts(gateway) == [attempt])
                site.worker.kill()
            async with worker_of(gateway):
                await until(all_are(gateway, State.DEAD))
                await until(lambda: is_empty(gateway))
            assert errors(gateway) == ["its worker died while answering, at attempt 2 of 2"]

    with socket.create_server(("127.0.0.1", 0)) as listening:
        asyncio.run(check(f"http://127.0.0.1:{listening.getsockname()[1]}"))


def attempts(gateway: Gateway) -> list[int]:
    with gateway.records.read() as session:
        return list(session.scalars(select(Photo.attempts)))


def test_probes_and_metrics(site):
    site.worker.start()
    there = site.worker._ready_url.removesuffix("/healthz")
    metrics = httpx.get(f"{there}/metrics").text
    assert "stocktake_queue_photos 0.0" in metrics
    assert httpx.get(f"{there}/readyz").status_code == 200
    assert httpx.get(f"{there}/secrets").status_code == 404
    site.redis.kill()
    asyncio.run(until(lambda: httpx.get(f"{there}/readyz").status_code == 503))
    assert "cannot be reached" in httpx.get(f"{there}/readyz").text
    assert httpx.get(f"{there}/healthz").status_code == 200
    site.worker.process.send_signal(signal.SIGTERM)
    site.worker.process.wait(60)


def test_a_worker_without_a_queue_says_so(site):
    async def check():
        async with gateway_of(site, redis=None) as gateway:
            with pytest.raises(SettingsError, match="STOCKTAKE_GATEWAY_REDIS is not set"):
                await work(gateway)

    asyncio.run(check())


def test_waits_become_longer():
    settings = load_gateway_settings(retry_s=2, retry_at_most_s=60)
    for tries, expected_s in ((1, 2), (2, 6), (3, 18), (4, 54), (5, 60), (1000, 60)):
        waits = [backoff_s(settings, tries) for _ in range(50)]
        assert 0.75 * expected_s <= min(waits) < max(waits) <= 1.25 * expected_s
