"""The parts of a gateway, which the server and the worker share."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter, to_thread

from serving.gateway import alerts
from serving.gateway.answering import Answering, Observer
from serving.gateway.blurring import Blur, load_blur
from serving.gateway.predictors import Predictors
from serving.gateway.queue import Queue, open_queue
from serving.gateway.records.database import Records
from serving.gateway.settings import GatewaySettings
from serving.gateway.unpacking import Unpacking
from stocktake.alerts.rules import AlertRules
from stocktake.settings import load_settings
from stocktake.storage import Store, open_store

STORED_AT_ONCE = 40  # requests to the store: those with photos, and a few that show or look for some


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything that answers photos; belongs to one event loop."""

    settings: GatewaySettings
    records: Records
    store: Store
    predictors: Predictors
    answering: Answering
    observe: Observer  # called once for each photo that is done, in its transaction
    queue: Queue | None  # None: photos are answered at once or not at all
    blur: Blur | None  # each photo goes through it before it is kept or answered
    blurring: CapacityLimiter  # of threads that do so, each of which takes a core
    storing: CapacityLimiter  # of threads that wait for the store: those that need the records have others
    unpacking: Unpacking


@asynccontextmanager
async def open_gateway(settings: GatewaySettings, patient: bool = False) -> AsyncIterator[Gateway]:
    """Open the parts and bring the records' schema up to date; close them at the end.

    `patient`: nobody waits while the store is away, so that it is tried again for as long as S3_RETRIES says.

    Raises:
        SettingsError, Unavailable: a part cannot be opened; says which.
    """
    blur = load_blur(settings.blur)
    async with AsyncExitStack() as parts:
        records = Records(settings.database)
        parts.callback(records.close)
        await to_thread.run_sync(records.migrate)
        unpacking = Unpacking()
        predictors = Predictors(settings, unpacking)
        parts.push_async_callback(predictors.close)
        store = open_store(settings.photos) if patient else open_photos(settings)
        rules = AlertRules(settings.alert_open_after, settings.alert_close_after)
        observe: Observer = partial(alerts.observe, rules=rules)
        answering = Answering(records, store, predictors, settings.attempts, observe)
        queue = await parts.enter_async_context(open_queue(settings)) if settings.redis else None
        blurring = CapacityLimiter(len(os.sched_getaffinity(0)))
        storing = CapacityLimiter(STORED_AT_ONCE)
        yield Gateway(
            settings, records, store, predictors, answering, observe, queue,
            blur, blurring, storing, unpacking,
        )  # fmt: skip


def open_photos(settings: GatewaySettings) -> Store:
    """The store of photos for who cannot wait: it fails where it is silent for `store_s`, twice.

    To send may take longer, while 64 KiB go in `store_s`; the answer may then take 1 s more for each MB.
    """
    if not settings.photos.startswith("s3://"):
        return open_store(settings.photos)
    return open_store(settings.photos, load_settings(s3_retries=1, s3_answer_s=settings.store_s))
