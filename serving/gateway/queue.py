"""Photos that wait for a worker: Redis Streams, through streaq.

A photo is one task whose id is the photo's, so that putting it twice does not run it twice. A worker takes
it, answers it, and acknowledges it when the answer is in the records; who dies before that is found out,
and another one takes the photo. The records are the truth: what the queue loses is put again (`reconciler`).
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
from coredis.exceptions import AuthenticationError, ReadOnlyError, RedisError
from streaq import Worker

from serving.gateway.errors import Overloaded, Unavailable
from serving.gateway.lifting import lift
from serving.gateway.records.tables import Priority
from serving.gateway.settings import GatewaySettings

TASK = "answer"
NAME = "stocktake"  # of the queue, in the names of its keys
LOWEST_FIRST = (Priority.LOW, Priority.NORMAL, Priority.HIGH)
ANSWER_S = 5.0  # that Redis has for one command
LOOK_S = 2.0  # between two looks at whether it is there
AT_ONCE = 500  # photos in one command

logger = logging.getLogger(__name__)

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


def open_streaq(settings: GatewaySettings, answer_s: float, **options: Any) -> Worker[None]:
    """One connection to the queue, not yet made: for putting, or to be run as a worker.

    `answer_s`: that Redis has for one command. What is kept in Redis is JSON, never a pickle.
    """
    assert settings.redis is not None
    return Worker(
        redis_url=settings.redis.get_secret_value(),
        redis_kwargs={"stream_timeout": answer_s, "connect_timeout": 5.0, "decode_components": True},
        queue_name=NAME,
        priorities=list(LOWEST_FIRST),
        serializer=partial(json.dumps, default=repr),  # an exception becomes words
        deserializer=json.loads,
        idle_timeout=settings.reclaim_s,
        **options,
    )


class Queue:
    """The gateway's end of the queue; belongs to one event loop. `open_queue` makes one."""

    def __init__(self, settings: GatewaySettings):
        self._settings = settings
        self._streaq: Worker[None] | None = None
        self._broken = asyncio.Event()
        self.tried = asyncio.Event()  # whether a connection was made or has failed
        self.problem: str | None = "the queue is not connected yet"  # why nothing can be put now

    async def admit(self, count: int) -> None:
        """Ask whether `count` more photos may be put, before they are promised to anybody.

        Several gateways that ask at the same moment may together go a job beyond the limit.

        Raises:
            Overloaded: too many wait already.
            Unavailable: Redis is away, full or read-only; says which.
        """
        waiting = await self.waiting()
        with self._explained() as streaq:
            await streaq.redis.set(f"{streaq.prefix}:writable", "1", ex=1)
        most = self._settings.max_waiting
        if waiting + count > most:
            raise Overloaded(f"{waiting} photos wait, and at most {most} may", retry_after_s=30)

    async def put(self, photo_ids: Sequence[str], priority: Priority) -> None:
        """Put photos that the records have; those that wait already stay where they are.

        Raises:
            Unavailable: Redis is away, full or read-only. What the records have is put later, by a worker.
        """
        with self._explained() as streaq:
            for first in range(0, len(photo_ids), AT_ONCE):
                some = photo_ids[first : first + AT_ONCE]
                tasks = [streaq.enqueue_unsafe(TASK, photo_id).start(priority=priority) for photo_id in some]
                for task, photo_id in zip(tasks, some, strict=True):
                    task.id = photo_id
                await streaq.enqueue_many(tasks)

    async def put_again(self, photo_ids: Sequence[str], priority: Priority) -> None:
        """Put photos that the queue does not hold, even if it thinks so."""
        with self._explained() as streaq:
            await streaq.redis.delete([streaq.task_key + photo_id for photo_id in photo_ids])
        await self.put(photo_ids, priority)

    async def waiting(self) -> int:
        """How many photos are put and not answered, those at work and those to be tried again included."""
        with self._explained() as streaq:
            return await streaq.queue_size()

    async def held(self) -> set[str]:
        """The ids of those."""
        found: set[str] = set()
        with self._explained() as streaq:
            for priority in LOWEST_FIRST:
                found.update(await streaq.redis.zrange(streaq.queue_key + priority, 0, -1))
                start = "-"
                while entries := await streaq.redis.xrange(
                    streaq.stream_key + priority, start, count=AT_ONCE
                ):
                    found.update(str(entry.field_values["task_id"]) for entry in entries)
                    start = f"({entries[-1].identifier!s}"
        return found

    async def lift(self, older_than: timedelta, most: int) -> int:
        """Let some photos that wait for so long go on as urgent, the lowest first; returns how many."""
        with self._explained() as streaq:
            highest, *others = (streaq.stream_key + priority for priority in LOWEST_FIRST[::-1])
            return await lift(streaq.redis, [highest, *others[::-1]], older_than, most)

    async def keep_open(self) -> None:
        """Connect, look after the connection, and connect again when it is lost. Never ends."""
        while True:
            self._broken.clear()
            try:
                async with open_streaq(self._settings, ANSWER_S) as streaq:
                    self._streaq = streaq
                    self._tell(None)
                    await self._watch(streaq)
            except Exception as error:  # whatever it is, it is told, and Redis may come back
                self._tell(explain(error))
            self._streaq = None
            await asyncio.sleep(LOOK_S / 2)

    async def _watch(self, streaq: Worker[None]) -> None:
        while not self._broken.is_set():
            await streaq.redis.ping()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._broken.wait(), LOOK_S)

    def _tell(self, problem: str | None) -> None:
        if problem != self.problem:
            logger.log(logging.WARNING if problem else logging.INFO, problem or "the queue is there")
        self.problem = problem
        self.tried.set()

    @contextmanager
    def _explained(self) -> Iterator[Worker[None]]:
        streaq = self._streaq
        if streaq is None:
            raise Unavailable(self.problem or "the queue is not connected yet")
        try:
            with anyio.fail_after(ANSWER_S):
                yield streaq
        except Exception as error:  # a client whose connection is torn down raises all kinds
            if self._streaq is streaq:  # or somebody else has told already
                self._tell(explain(error))
                self._streaq = None
                self._broken.set()
            raise Unavailable(self.problem or explain(error)) from error


@asynccontextmanager
async def open_queue(settings: GatewaySettings) -> AsyncIterator[Queue]:
    """A queue that is connected, or soon will be; `settings.redis` is not None."""
    queue = Queue(settings)
    keeper = asyncio.create_task(queue.keep_open())
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(queue.tried.wait(), ANSWER_S)
        yield queue
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper


def explain(error: BaseException) -> str:
    """What is wrong with Redis, in words that name no address and no password."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = str(error)
    if "OOM" in said or "maxmemory" in said:
        return "the queue is full: Redis has reached its memory limit"
    if isinstance(error, ReadOnlyError) or "READONLY" in said or "read only replica" in said:
        return "the queue takes nothing: this Redis is a read-only replica"
    if "MISCONF" in said:
        return "the queue takes nothing: Redis cannot write to its disk"
    if isinstance(error, AuthenticationError) or "NOAUTH" in said or "WRONGPASS" in said:
        return "the queue refuses us: check user and password in STOCKTAKE_GATEWAY_REDIS"
    if isinstance(error, RedisError | OSError | TimeoutError):
        return "the queue cannot be reached: Redis does not answer"
    return f"the queue does not work: {type(error).__name__}"
