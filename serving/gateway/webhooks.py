"""Tells servers that jobs are over: at least once, signed, again until they listen.

Form and signature are those of the Standard Webhooks specification, for which receivers have libraries. The
table `deliveries` is the truth; several workers share it, each taking what is due while it calls.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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

    async def run(self) -> None:
        """Deliver what is due, again and again; never ends."""
        while True:
            try:
                while await self.deliver():
                    pass
            except Unavailable as error:
                logger.warning("webhooks wait: %s", error)
            await asyncio.sleep(LOOK_S)

    async def deliver(self) -> int:
        """Call some of those that are due, and say how many those were.

        Raises:
            Unavailable: the records are away.
        """
        calls = await to_thread.run_sync(_take, self._records)
        problems = await asyncio.gather(*map(self._call, calls))
        for call, problem in zip(calls, problems, strict=True):
            self._calls.labels("failed" if problem else "delivered").inc()
            await to_thread.run_sync(_settle, self._records, call, problem)
        return len(calls)

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


def _take(records: Records) -> list[Call]:
    """Those that are due, each promised to us for as long as a lease."""
    due = Delivery.next_at <= now()
    with records.read() as session:
        ids = session.scalars(select(Delivery.id).where(due).order_by(Delivery.next_at).limit(AT_ONCE)).all()
    if not ids:
        return []
    calls = []
    with records.write() as session:
        free = select(Delivery).where(due, Delivery.id.in_(ids)).with_for_update(skip_locked=True)
        for delivery in session.scalars(free):
            delivery.attempts += 1
            delivery.next_at = now() + LEASE
            summary = history.find_job(session, delivery.job_id)
            if summary is None or summary.job.finished_at is None:
                delivery.next_at = None  # some of its photos are tried again, and then it will be told
                continue
            finished_at, body = summary.job.finished_at, _body(JobOverview.of(summary))
            calls.append(Call(delivery.id, delivery.attempts, delivery.url, finished_at, body))
    return calls


def _body(job: JobOverview) -> bytes:
    data = job.model_dump(mode="json")
    return json.dumps({"type": "job.finished", "timestamp": data["finished_at"], "data": data}).encode()


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
