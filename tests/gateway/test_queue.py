"""Photos in a real Redis: put once, bounded, and found again when lost."""

import asyncio
from datetime import timedelta

import pytest
from streaq.constants import REDIS_GROUP

from serving.gateway.errors import Overloaded, Unavailable
from serving.gateway.queue import Queue, open_queue
from serving.gateway.reconciler import reconcile
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Job, Photo, Priority, Task
from serving.gateway.settings import GatewaySettings, load_gateway_settings
from tests.redis_server import RedisServer

AT_ONCE = timedelta(0)


@pytest.fixture
def records(tmp_path):
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    yield records
    records.close()


def settings_for(redis: RedisServer, **more) -> GatewaySettings:
    return load_gateway_settings(redis=redis.url, **more)


def add_photos(records: Records, count: int, priority: Priority = Priority.NORMAL) -> list[str]:
    job = Job(owner="cam", task=Task.SHELVES, priority=priority)
    for place in range(count):
        size = {"size": 9, "width": 30, "height": 20, "format": "jpeg"}
        job.photos.append(Photo(place=place, task=Task.SHELVES, sha256=f"{place:064}", **size))
    with records.write() as session:
        session.add(job)
    return [photo.id for photo in job.photos]


async def until(true, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.05)


def test_a_photo_that_waits_is_not_put_twice(redis):
    async def check():
        async with open_queue(settings_for(redis)) as queue:
            assert queue.problem is None
            await queue.put([f"photo-{number}" for number in range(1200)], Priority.NORMAL)
            await queue.put(["photo-7", "photo-1199"], Priority.HIGH)
            assert await queue.waiting() == 1200
            assert await queue.held() == {f"photo-{number}" for number in range(1200)}

    asyncio.run(check())


def test_no_more_than_allowed_may_wait(redis):
    async def check():
        async with open_queue(settings_for(redis, max_waiting=10)) as queue:
            await queue.admit(10)
            await queue.put([str(number) for number in range(8)], Priority.LOW)
            await queue.admit(2)
            with pytest.raises(Overloaded, match="8 photos wait, and at most 10 may") as refusal:
                await queue.admit(3)
            assert refusal.value.retry_after_s > 0

    asyncio.run(check())


def test_lost_photos_are_put_again(redis, records):
    async def check():
        photo_ids = add_photos(records, 3) + add_photos(records, 2, Priority.HIGH)
        async with open_queue(settings_for(redis)) as queue:
            await queue.put(photo_ids[:1], Priority.NORMAL)
            assert await reconcile(records, queue, timedelta(hours=1)) == 0
            assert await reconcile(records, queue, AT_ONCE) == 4
            assert await queue.held() == set(photo_ids)
            await forget_all_but_the_tasks(queue)
            assert await reconcile(records, queue, AT_ONCE) == 5
            assert await queue.held() == set(photo_ids)
            assert await queue.waiting() == 5

    asyncio.run(check())


def test_photos_that_wait_for_long_are_lifted(redis):
    async def check():
        async with open_queue(settings_for(redis)) as queue:
            await queue.put(["urgent"], Priority.HIGH)
            await queue.put(["normal"], Priority.NORMAL)
            await queue.put([f"low-{number}" for number in range(4)], Priority.LOW)
            assert await queue.lift(timedelta(minutes=1), 9) == 0
            with queue._explained() as streaq:  # as a worker that has begun with the first one
                await streaq.redis.xgroup_create(streaq.stream_key + Priority.LOW, REDIS_GROUP, "0")
                await streaq.redis.xreadgroup(
                    REDIS_GROUP, "worker", {streaq.stream_key + Priority.LOW: ">"}, count=1
                )
            assert await queue.lift(AT_ONCE, 2) == 2
            assert await in_stream(queue, Priority.HIGH) == ["urgent", "low-1", "low-2"]
            assert await queue.lift(AT_ONCE, 9) == 2
            assert await in_stream(queue, Priority.HIGH) == ["urgent", "low-1", "low-2", "low-3", "normal"]
            assert await in_stream(queue, Priority.LOW) == ["low-0"]
            assert await queue.lift(AT_ONCE, 9) == 0
            await queue.put(["low-1"], Priority.LOW)
            assert await queue.waiting() == 6

    asyncio.run(check())


async def in_stream(queue: Queue, priority: Priority) -> list[str]:
    with queue._explained() as streaq:
        entries = await streaq.redis.xrange(streaq.stream_key + priority)
    return [entry.field_values["task_id"] for entry in entries]


async def forget_all_but_the_tasks(queue: Queue) -> None:
    with queue._explained() as streaq:
        await streaq.redis.delete([streaq.stream_key + priority for priority in Priority])


def test_redis_that_goes_and_comes_back(redis):
    async def check():
        async with open_queue(settings_for(redis)) as queue:
            with queue._explained() as streaq:  # with `everysec` a busy disk may have "one" two seconds later
                await streaq.redis.config_set({"appendfsync": "always"})
            await queue.put(["one"], Priority.NORMAL)
            redis.kill()
            with pytest.raises(Unavailable, match="cannot be reached"):
                await queue.put(["two"], Priority.NORMAL)
            with pytest.raises(Unavailable, match="cannot be reached"):
                await queue.admit(1)
            assert "cannot be reached" in queue.problem
            redis.start()
            await until(lambda: is_there(queue))
            assert await queue.held() == {"one"}
            await queue.put(["two"], Priority.NORMAL)
            assert await queue.waiting() == 2

    asyncio.run(check())


async def is_there(queue: Queue) -> bool:
    return queue.problem is None


def test_redis_that_is_away_at_start(redis):
    async def check():
        redis.kill()
        async with open_queue(settings_for(redis)) as queue:
            with pytest.raises(Unavailable, match="cannot be reached"):
                await queue.admit(1)
            redis.start()
            await until(lambda: is_there(queue))
            await queue.admit(1)

    asyncio.run(check())


def test_redis_that_is_full(redis):
    async def check():
        async with open_queue(settings_for(redis)) as queue, open_queue(settings_for(redis)) as other:
            with other._explained() as streaq:
                await streaq.redis.config_set({"maxmemory": "1mb"})
                with pytest.raises(Unavailable, match="memory limit"):
                    await queue.admit(1)
                with pytest.raises(Unavailable, match="memory limit"):
                    await queue.put(["one"], Priority.NORMAL)
                await streaq.redis.config_set({"maxmemory": "0"})
            await until(lambda: is_there(queue))
            await queue.put(["one"], Priority.NORMAL)
            assert await queue.held() == {"one"}

    asyncio.run(check())


def test_redis_that_only_reads(redis, tmp_path):
    async def check():
        replica = RedisServer(tmp_path / "replica", "--replicaof", f"127.0.0.1 {redis.port}")
        replica.start()
        try:
            async with open_queue(settings_for(replica)) as queue:
                with pytest.raises(Unavailable, match="read-only replica"):
                    await queue.admit(1)
        finally:
            replica.kill()

    asyncio.run(check())


def test_a_wrong_password(redis):
    async def check():
        async with open_queue(settings_for(redis)) as queue:
            with queue._explained() as streaq:
                await streaq.redis.config_set({"requirepass": "right"})
        wrong = redis.url.replace("//", "//:wrong@")
        async with open_queue(load_gateway_settings(redis=wrong)) as queue:
            with pytest.raises(Unavailable, match="check user and password") as problem:
                await queue.waiting()
            assert "wrong" not in str(problem.value)

    asyncio.run(check())
