"""A worker: answers the photos of the queue, calls webhooks, and puts again what the queue has lost."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from coredis.exceptions import RedisError
from streaq import StreaqRetry, Worker
from streaq.constants import REDIS_GROUP

from serving.gateway.errors import Overloaded, Unavailable
from serving.gateway.gateway import Gateway
from serving.gateway.queue import LOWEST_FIRST, TASK, Queue, explain, open_streaq
from serving.gateway.reconciler import keep_reconciled
from serving.gateway.settings import GatewaySettings

HOLD_S = 5.0  # at most, that a photo which could not be asked keeps its place in the worker
AGAIN_S = 1.0  # before Redis is tried again
GRACE_S = 10.0  # beyond the deadline of a photo, for a worker that shall end

logger = logging.getLogger(__name__)


async def work(gateway: Gateway, queue: Queue) -> None:
    """Work until SIGTERM or SIGINT; then what runs is finished, and the rest is there for another worker."""
    settings = gateway.settings
    besides = [asyncio.create_task(keep_reconciled(gateway.records, queue, settings.reconcile_s))]
    try:
        await Answerer(gateway).run()
    finally:
        for task in besides:
            task.cancel()
        await asyncio.gather(*besides, return_exceptions=True)


class Answerer:
    """Takes photos out of the queue, and survives Redis."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway
        self._settings = gateway.settings
        self.id: str | None = None  # among the workers of the queue

    async def run(self) -> None:
        """Until a signal says that it is enough."""
        while True:
            streaq = self._connect()
            try:
                await streaq.run_async()
            except Exception as error:  # noqa: BLE001  (a worker that gives up is worse than any of them)
                logger.warning("%s; trying again", explain(error), exc_info=not _is_redis(error))
                await asyncio.sleep(AGAIN_S)
            else:
                return

    def _connect(self) -> Worker[None]:
        """A run of streaq, which lasts as long as its connection, under one name."""
        settings = self._settings
        streaq = open_streaq(
            settings,
            answer_s=settings.reclaim_s + 10,  # it waits for photos as long as `reclaim_s`
            concurrency=settings.photos_in_flight,
            prefetch=max(1, settings.photos_in_flight // 4),
            grace_period=int(settings.deadline_s + GRACE_S),
            id=self.id,
        )
        self.id = streaq.id
        streaq.lifespan = _give_back_around(streaq)

        @streaq.task(name=TASK, max_tries=None, timeout=None, ttl=0, silent=True)
        async def answer(photo_id: str) -> None:
            try:
                await self._gateway.answering.answer(photo_id)
            except Unavailable as error:
                await self._try_again(photo_id, error, answer.context.tries)

        return streaq

    async def _try_again(self, photo_id: str, error: Unavailable, tries: int) -> None:
        """Later, and not at once the next photo: who is away or busy would refuse that, too."""
        await asyncio.sleep(min(error.retry_after_s, HOLD_S) if isinstance(error, Overloaded) else 1.0)
        delay_s = backoff_s(self._settings, 1 if isinstance(error, Overloaded) else tries)
        logger.info("photo %s is tried again in %.1f s: %s", photo_id, delay_s, error)
        raise StreaqRetry(delay=timedelta(seconds=delay_s))


def backoff_s(settings: GatewaySettings, tries: int) -> float:
    """How long to wait after so many tries, give or take a quarter so that photos do not come in waves."""
    delay_s = min(settings.retry_at_most_s, settings.retry_s * 3.0 ** min(tries - 1, 20))
    return delay_s * random.uniform(0.75, 1.25)  # noqa: S311


@asynccontextmanager
async def _give_back_around(streaq: Worker[None]) -> AsyncIterator[None]:
    """Nobody shall wait for photos that this worker took and did not begin, in this run or the last."""
    await _give_back(streaq)
    yield
    with contextlib.suppress(RedisError, OSError):
        await _give_back(streaq)


async def _give_back(streaq: Worker[None]) -> None:
    """Let what this worker has not acknowledged be reclaimed now instead of in `reclaim_s`."""
    for priority in LOWEST_FIRST:
        stream = streaq.stream_key + priority
        if await streaq.redis.exists([stream]):
            pending = await streaq.redis.xpending(stream, REDIS_GROUP, "-", "+", 1000, consumer=streaq.id)
            if ids := [entry.identifier for entry in pending]:
                await streaq.redis.xclaim(
                    stream, REDIS_GROUP, streaq.id, 0, ids, idle=streaq.idle_timeout, justid=True
                )


def _is_redis(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_redis, error.exceptions))
    return isinstance(error, RedisError | OSError)
