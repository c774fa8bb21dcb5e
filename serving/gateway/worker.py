"""A worker: answers the photos of the queue, calls webhooks, and puts again what the queue has lost."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import cast

from coredis.exceptions import RedisError, StreamConsumerGroupError
from coredis.response.types import StreamPendingExt
from prometheus_client import Gauge
from streaq import StreaqRetry, Worker
from streaq.constants import REDIS_GROUP

from serving.gateway.errors import Overloaded, Unavailable
from serving.gateway.gateway import Gateway
from serving.gateway.probes import Heart, serve_probes
from serving.gateway.queue import LOOK_S, LOWEST_FIRST, TASK, Queue, explain, open_streaq
from serving.gateway.reconciler import keep_reconciled
from serving.gateway.retraining import keep_watching
from serving.gateway.settings import GatewaySettings
from serving.gateway.webhooks import Webhooks
from serving.gateway.worker_metrics import WorkerMetrics
from stocktake.errors import SettingsError

HOLD_S = 5.0  # at most, that a photo which could not be asked keeps its place in the worker
AGAIN_S = 1.0  # before Redis is tried again
GRACE_S = 10.0  # beyond the deadline of a photo, for a worker that shall end

logger = logging.getLogger(__name__)


async def work(gateway: Gateway, host: str = "127.0.0.1", port: int = 9090) -> None:
    """Work until SIGTERM or SIGINT; then what runs is finished, and the rest is there for another worker.

    `host`, `port`: where it says how it is, see `probes`.

    Raises:
        SettingsError: there is no queue.
        OSError: the port is taken.
    """
    settings, records, queue = gateway.settings, gateway.records, gateway.queue
    if queue is None:
        raise SettingsError("STOCKTAKE_GATEWAY_REDIS is not set, and without a queue there is nothing to do")
    metrics, heart = WorkerMetrics(), Heart()
    probes = {"/healthz": heart.problem, "/readyz": lambda: queue.problem}
    with serve_probes(host, port, metrics.registry, probes):
        besides = [
            asyncio.create_task(_keep(each))
            for each in (
                partial(keep_reconciled, records, queue, settings.reconcile_s, metrics.reconciled),
                Webhooks(settings, records, metrics.webhooks).run,
                partial(keep_watching, records, gateway.predictors, settings, metrics.show_drift),
                partial(_look_around, queue, heart, metrics.waiting),
            )
        ]
        try:
            await Answerer(gateway, metrics).run()
        finally:
            for task in besides:
                task.cancel()
            await asyncio.gather(*besides, return_exceptions=True)


async def _keep(endless: Callable[[], Awaitable[None]]) -> None:
    """What has to go on goes on, whatever happens to it."""
    while True:
        try:
            await endless()
        except Exception:
            logger.exception("a fault of ours")
        await asyncio.sleep(AGAIN_S)


async def _look_around(queue: Queue, heart: Heart, waiting: Gauge) -> None:
    while True:
        heart.beat()
        with contextlib.suppress(Unavailable):
            waiting.set(await queue.waiting())
        await asyncio.sleep(LOOK_S)


class Answerer:
    """Takes photos out of the queue, and survives Redis."""

    def __init__(self, gateway: Gateway, metrics: WorkerMetrics):
        self._gateway, self._metrics = gateway, metrics
        self._settings = gateway.settings
        self.id: str | None = None  # among the workers of the queue

    async def run(self) -> None:
        """Until a signal says that it is enough."""
        while True:
            streaq = self._connect()
            try:
                await streaq.run_async()
            except Exception as error:  # whatever it is, a worker that gives up is worse
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
            with self._metrics.in_flight.track_inprogress():
                try:
                    with self._metrics.seconds.time():
                        await self._gateway.answering.answer(photo_id)
                except Unavailable as error:
                    self._metrics.photos.labels("again").inc()
                    await self._try_again(photo_id, error, answer.context.tries)
                self._metrics.photos.labels("answered").inc()

        return streaq

    async def _try_again(self, photo_id: str, error: Unavailable, tries: int) -> None:
        """Later; and until then not the next photo at once: who is away or busy would refuse that, too."""
        await asyncio.sleep(min(error.retry_after_s, HOLD_S) if isinstance(error, Overloaded) else 1.0)
        with contextlib.suppress(Unavailable):
            await self._gateway.answering.tell()  # before another worker begins it
        delay_s = backoff_s(self._settings, 1 if isinstance(error, Overloaded) else tries)
        logger.info("photo %s is tried again in %.1f s: %s", photo_id, delay_s, error)
        raise StreaqRetry(delay=timedelta(seconds=delay_s))


def backoff_s(settings: GatewaySettings, tries: int) -> float:
    """How long to wait after so many tries, give or take a quarter so that photos do not come in waves."""
    delay_s = min(settings.retry_at_most_s, settings.retry_s * 3.0 ** min(tries - 1, 20))
    return delay_s * random.uniform(0.75, 1.25)


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
        with contextlib.suppress(StreamConsumerGroupError):  # nobody has read it yet
            pending = await streaq.redis.xpending(stream, REDIS_GROUP, "-", "+", 1000, consumer=streaq.id)
            if ids := [entry.identifier for entry in cast(Sequence[StreamPendingExt], pending)]:
                await streaq.redis.xclaim(
                    stream, REDIS_GROUP, streaq.id, 0, ids, idle=streaq.idle_timeout, justid=True
                )


def _is_redis(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_redis, error.exceptions))
    return isinstance(error, RedisError | OSError)
