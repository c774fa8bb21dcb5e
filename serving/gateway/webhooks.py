"""Tells the servers that asked for it that their jobs are over: at least once, signed, again until they listen.

Form and signature are those of the Standard Webhooks specification, for which receivers have libraries. The
table `deliveries` is the truth; several workers share it, each taking what is due for as long as a call lasts.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from anyio import to_thread
from sqlalchemy import func, select

from serving.gateway.errors import Unavailable
from serving.gateway.outside import Outside
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Delivery, Job, Photo, State, now
from serving.gateway.settings import GatewaySettings
from serving.gateway.views import JobSummary
from stocktake.errors import BadRequest

LOOK_S = 1.0  # between two looks at what is due
AT_ONCE = 10
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
    finished_at: datetime
    body: bytes


def open_outside(settings: GatewaySettings) -> Outside:
    """The receivers that may be called."""
    return Outside(settings.webhook_hosts, "STOCKTAKE_GATEWAY_WEBHOOK_HOSTS")


def check_webhook(settings: GatewaySettings, outside: Outside, url: str) -> None:
    """Raise BadRequest where nothing will be sent to a URL."""
    if settings.webhook_secret is None:
        raise BadRequest("webhook: this gateway signs none; an operator can set STOCKTAKE_GATEWAY_WEBHOOK_SECRET")
    try:
        outside.check(url)
    except BadRequest as error:
        raise BadRequest(f"webhook: {error}") from None


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

    def __init__(self, settings: GatewaySettings, records: Records):
        self._records = records
        self._secret = settings.webhook_secret
        self._outside = open_outside(settings)

    async def run(self) -> None:
        """Deliver what is due, again and again; never ends."""
        try:
            while True:
                try:
                    while await self.deliver():
                        pass
                except Unavailable as error:
                    logger.warning("webhooks wait: %s", error)
                await asyncio.sleep(LOOK_S)
        finally:
            await self._outside.close()

    async def deliver(self) -> int:
        """Call some of those that are due, and say how many those were.

        Raises:
            Unavailable: the records are away.
        """
        calls = await to_thread.run_sync(_take, self._records)
        problems = await asyncio.gather(*map(self._call, calls))
        for call, problem in zip(calls, problems, strict=True):
            await to_thread.run_sync(_settle, self._records, call, problem)
        return len(calls)

    async def _call(self, call: Call) -> str | None:
        """What went wrong, or None."""
        if self._secret is None:
            return "there is no STOCKTAKE_GATEWAY_WEBHOOK_SECRET to sign it"
        timestamp = int(datetime.now(UTC).timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "stocktake",
            "webhook-id": call.delivery_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(
                self._secret.get_secret_value(), call.delivery_id, timestamp, call.body
            ),
        }
        try:
            async with self._outside.request("POST", call.url, headers, call.body, CALL_S) as response:
                return None if 200 <= response.status < 300 else f"HTTP {response.status}"
        except (Unavailable, BadRequest) as error:
            return str(error)


def _take(records: Records) -> list[Call]:
    """Those that are due, each promised to us for as long as a lease."""
    due = select(Delivery.id).where(Delivery.next_at <= now()).order_by(Delivery.next_at).limit(AT_ONCE)
    with records.read() as session:
        if session.scalar(due) is None:
            return []
    with records.write() as session:
        locked = select(Delivery).where(Delivery.id.in_(due.subquery().select()), Delivery.next_at <= now())
        calls = []
        for delivery in session.scalars(locked.with_for_update(skip_locked=True)):
            delivery.attempts += 1
            delivery.next_at = now() + LEASE
            job = session.get_one(Job, delivery.job_id)
            if job.finished_at is None:  # photos of it are tried again
                delivery.next_at = None
                continue
            counts = select(Photo.state, func.count()).where(Photo.job_id == job.id).group_by(Photo.state)
            view = JobSummary.of(job, {State(state): count for state, count in session.execute(counts)})
            told = {"type": "job.finished", "timestamp": view.finished_at, "data": view}
            body = json.dumps(told, default=_plain).encode()
            calls.append(Call(delivery.id, delivery.attempts, delivery.url, job.finished_at, body))
        return calls


def _settle(records: Records, call: Call, problem: str | None) -> None:
    """Note how a call went, unless the job was over once more meanwhile: then that is to be told."""
    with records.write() as session:
        delivery = session.get(Delivery, call.delivery_id, with_for_update=True)
        if delivery is None or session.get_one(Job, delivery.job_id).finished_at != call.finished_at:
            return
        delivery.error = problem
        if problem is None:
            delivery.delivered_at, delivery.next_at = now(), None
        elif call.attempt >= ATTEMPTS:
            delivery.next_at = None
            logger.warning("webhook %s is given up after %d calls: %s", delivery.id, ATTEMPTS, problem)
        else:
            wait_s = min(MOST_S, FIRST_S * 2.0 ** (call.attempt - 1))
            delivery.next_at = now() + timedelta(seconds=wait_s)
            logger.info("webhook %s is called again in %.0f s: %s", delivery.id, wait_s, problem)
