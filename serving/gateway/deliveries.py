"""Which webhooks are due, and how their calls went. The table `deliveries` is the truth.

Several workers share it, each taking what is due while it calls. A host that does not answer keeps no call to
another one waiting, since no worker has more than a few calls to one host that are not over.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from serving.gateway.records import history
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Delivery, Job, now
from serving.gateway.views import JobOverview

AT_ONCE = 32  # calls of one worker
AT_ONE_HOST = 4  # of these
LEASE = timedelta(minutes=1)  # after which somebody else may call
FIRST_S, MOST_S = 5.0, 3600.0  # between two calls; twice as much each time
ATTEMPTS = 24  # over about 15 hours

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """What is due: the delivery, its how many-th call this is, and when the job that it tells of was over."""

    delivery_id: str
    attempt: int
    url: str
    host: str
    finished_at: datetime
    body: bytes


def take(records: Records, called: Collection[str] = ()) -> list[Call]:
    """Some that are due, each promised to us for as long as a lease; `called`: hosts of calls not over.

    Raises:
        Unavailable: the records are away.
    """
    ids = _find_due(records, Counter(called))
    if not ids:
        return []
    calls = []
    with records.write() as session:
        free = select(Delivery).where(Delivery.next_at <= now(), Delivery.id.in_(ids))
        for delivery in session.scalars(free.with_for_update(skip_locked=True)):
            delivery.attempts += 1
            delivery.next_at = now() + LEASE
            summary = history.find_job(session, delivery.job_id)
            if summary is None or summary.job.finished_at is None:
                delivery.next_at = None  # some of its photos are tried again, and then it will be told
                continue
            finished_at, body = summary.job.finished_at, _body(JobOverview.of(summary))
            calls.append(Call(delivery.id, delivery.attempts, delivery.url, delivery.host, finished_at, body))
    return calls


def _find_due(records: Records, called: Counter[str]) -> list[str]:
    """As many as there is room for, those that have waited longest first; `called` counts them, too."""
    if (room := AT_ONCE - called.total()) <= 0:
        return []
    full = [host for host, count in called.items() if count >= AT_ONE_HOST]
    due = select(Delivery.id, Delivery.host).where(Delivery.next_at <= now(), Delivery.host.not_in(full))
    with records.read() as session:
        found = session.execute(due.order_by(Delivery.next_at).limit(room)).all()
    ids = []
    for delivery_id, host in found:
        if called[host] < AT_ONE_HOST:
            called[host] += 1
            ids.append(delivery_id)
    return ids


def _body(job: JobOverview) -> bytes:
    data = job.model_dump(mode="json")
    return json.dumps({"type": "job.finished", "timestamp": data["finished_at"], "data": data}).encode()


def settle(records: Records, call: Call, problem: str | None) -> None:
    """Note how a call went, unless the job was over once more meanwhile: then that is to be told.

    Raises:
        Unavailable: the records are away; it is called again when its lease is over.
    """
    with records.write() as session:
        delivery = session.get(Delivery, call.delivery_id, with_for_update=True)
        if delivery is None or session.get_one(Job, delivery.job_id).finished_at != call.finished_at:
            return
        delivery.error, about = problem, (delivery.id, delivery.host)
        if problem is None:
            delivery.delivered_at, delivery.next_at = now(), None
        elif call.attempt >= ATTEMPTS:
            delivery.next_at = None
            logger.warning("webhook %s of %s is given up after %d calls: %s", *about, ATTEMPTS, problem)
        else:
            wait_s = min(MOST_S, FIRST_S * 2.0 ** (call.attempt - 1))
            delivery.next_at = now() + timedelta(seconds=wait_s)
            logger.info("webhook %s of %s is called again in %.0f s: %s", *about, wait_s, problem)
