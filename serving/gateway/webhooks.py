"""Tells servers that jobs are over: at least once, signed, again until they listen.

Form and signature are those of the Standard Webhooks specification, for which receivers have libraries. Who
is to be called, `deliveries` knows.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
from datetime import UTC, datetime
from functools import partial

import httpx
from anyio import to_thread
from prometheus_client import Counter

from serving.gateway.deliveries import Call, settle, take
from serving.gateway.errors import Unavailable
from serving.gateway.records.database import Records
from serving.gateway.remote import check_url, locate, open_client
from serving.gateway.settings import GatewaySettings
from stocktake.errors import BadRequest

LOOK_S = 1.0  # between two looks at what is due
CALL_S = 15.0  # that a receiver has; much less than `deliveries.LEASE`

logger = logging.getLogger(__name__)


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
        calls = await to_thread.run_sync(take, self._records, tuple(self._called))
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
            await to_thread.run_sync(settle, self._records, call, problem)
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
