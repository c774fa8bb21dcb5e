"""Tells servers that jobs are over: at least once, signed, again until they listen.

Form and signature are those of the Standard Webhooks specification, for which receivers have libraries. The
table `deliveries` is the truth; several workers share it, each taking what is due while it calls. A host that
does not answer keeps no call to another one waiting.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
from collections import Counter as Tally
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
from anyio import to_thread
from prometheus_client import Counter
from sqlalchemy import select

from serving.gateway.errors import Unavailable
from serving.gateway.records import history
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Delivery, Job, now
from serving.gateway.remote import check_url, locate, open_client
from serving.gateway.settings import GatewaySettings
from serving.gateway.views import JobOverview
from stocktake.errors import BadRequest

LOOK_S = 1.0  # between two looks at what is due
AT_ONCE = 32  # calls of one worker
AT_ONE_HOST = 4  # of these
CALL_S = 15.0  # that a receiver has
LEASE = timedelta(seconds=4 * CALL_S)  # after which somebody else may call
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


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: HMAC-SHA256 over `id.timestamp.body`.

    Args:
        secret: `whsec_` and the key in base64.
        timestamp: seconds since 1970; a receiver refuses what is older than some minutes.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Webhooks:
    """Calls whom the records say; belongs to one event loop."""

    def __init__(self, settings: GatewaySettings, records: Records, calls: Counter):
        """`calls`: counted by their outcome, `delivered` or `failed`."""
        self._settings, self._records, self._calls = settings, records, calls
        self._called: list[str] = []  # hosts, once for each call that is not over
        self._over = asyncio.Event()  # whether a call was, since there was a look at what is due

    async def run(self) -> None:
        """Deliver what is due, again and again; never ends."""
        async with asyncio.TaskGroup() as calling:
            while True:
                self._over.clear()
                try:
                    while await self.begin(calling):
                        pass
                except Unavailable as error:
                    logger.warning("webhooks wait: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._over.wait()

    async def begin(self, calling: asyncio.TaskGroup) -> int:
        """Begin to call some of those that are due, and say how many those are; 0 where there is no room.

        Raises:
            Unavailable: the records are away.
        """
        calls = await to_thread.run_sync(_take, self._records, tuple(self._called))
        for call in calls:
            self._called.append(call.host)
            calling.create_task(self._deliver(call)).add_done_callback(partial(self._end, call.host))
        return len(calls)

    def _end(self, host: str, _call: asyncio.Task[None]) -> None:
        self._called.remove(host)
        self._over.set()

    async def _deliver(self, call: Call) -> None:
        try:
            problem = await self._call(call)
            self._calls.labels("failed" if problem else "delivered").inc()
            await to_thread.run_sync(_settle, self._records, call, problem)
        except Unavailable as error:
            logger.warning("webhook %s is called once more: %s", call.delivery_id, error)

    async def _call(self, call: Call) -> str | None:
        """What went wrong, or None."""
        try:
            async with asyncio.timeout(CALL_S), open_client() as client:
                url = check_url(call.url, self._settings.webhook_hosts, "webhook")
                target = await locate(url, self._settings, "webhook")
                async with client.stream(
                    "POST", target.url, content=call.body, extensions=target.extensions,
                    headers={**target.headers, **self._headers(call)},
                ) as answer:  # fmt: skip
                    return None if answer.is_success else f"its host answers {answer.status_code}"
        except TimeoutError:
            return f"its host did not answer within {CALL_S:.0f} s"
        except httpx.HTTPError as error:
            return f"its host cannot be asked: {type(error).__name__}"
        except BadRequest as error:
            return str(error)
        except Exception as error:  # of one call, which shall not end the others
            logger.exception("webhook %s: a fault of ours", call.delivery_id)
            return f"a fault of the gateway: {type(error).__name__}"

    def _headers(self, call: Call) -> dict[str, str]:
        if self._settings.webhook_secret is None:
            raise BadRequest("webhook: there is no STOCKTAKE_GATEWAY_WEBHOOK_SECRET to sign it with")
        secret, timestamp = (
            self._settings.webhook_secret.get_secret_value(),
            int(datetime.now(UTC).timestamp()),
        )
        return {
            "Content-Type": "application/json",
            "User-Agent": "stocktake",
            "webhook-id": call.delivery_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, call.delivery_id, timestamp, call.body),
        }


def _take(records: Records, called: Collection[str] = ()) -> list[Call]:
    """Some that are due, each promised to us for as long as a lease; `called`: hosts of calls not over."""
    ids = _find_due(records, Tally(called))
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


def _find_due(records: Records, called: Tally[str]) -> list[str]:
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


def _settle(records: Records, call: Call, problem: str | None) -> None:
    """Note how a call went, unless the job was over once more meanwhile: then that is to be told."""
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
