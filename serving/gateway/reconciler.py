"""Photos that the records wait for and the queue has lost are put again: the records are the truth.

They get lost where a gateway dies between writing a photo down and putting it, where Redis takes nothing at
that moment, or comes back with less than it had. Putting a photo that is not lost does no harm.

Higher priorities go first, and where there is always one of them, none of the others would ever be answered:
some that have waited for long are lifted each time.
"""

import asyncio
import logging
from collections import defaultdict
from datetime import timedelta

from anyio import to_thread
from prometheus_client import Counter
from sqlalchemy import select

from serving.gateway.errors import Unavailable
from serving.gateway.queue import Queue
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Job, Photo, Priority, State, now

LONG = timedelta(minutes=10)  # that a photo waits until it is lifted
LIFTED = 20  # photos at a time, by each worker: a small share of what it answers meanwhile

logger = logging.getLogger(__name__)


async def keep_reconciled(records: Records, queue: Queue, every_s: float, lost: Counter) -> None:
    """Reconcile again and again; never ends."""
    while True:
        try:
            lost.inc(await reconcile(records, queue, timedelta(seconds=every_s)))
            if lifted := await queue.lift(LONG, LIFTED):
                logger.info("%d photos of lower priorities have waited for %s and are lifted", lifted, LONG)
        except Unavailable as error:
            logger.warning("lost photos are looked for later: %s", error)
        await asyncio.sleep(every_s)


async def reconcile(records: Records, queue: Queue, older_than: timedelta) -> int:
    """Put what is lost again, and say how many photos that were. Younger ones may be on their way.

    Raises:
        Unavailable: the records or the queue are away.
    """
    waiting = await to_thread.run_sync(_waiting_photos, records, older_than)
    if not waiting:
        return 0
    held = await queue.held()
    lost: dict[Priority, list[str]] = defaultdict(list)
    for photo_id, priority in waiting:
        if photo_id not in held:
            lost[priority].append(photo_id)
    for priority, photo_ids in lost.items():
        await queue.put_again(photo_ids, priority)
        logger.warning("%d photos of %s priority were lost and are put again", len(photo_ids), priority)
    return sum(map(len, lost.values()))


def _waiting_photos(records: Records, older_than: timedelta) -> list[tuple[str, Priority]]:
    open_ones = Photo.state.in_((State.QUEUED, State.RUNNING))
    query = select(Photo.id, Job.priority).join(Photo.job)
    with records.read() as session:
        rows = session.execute(query.where(open_ones, Photo.received_at < now() - older_than))
        return [(photo_id, Priority(priority)) for photo_id, priority in rows]
