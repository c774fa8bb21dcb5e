"""The predictors, asked over v2 REST: photos as binary tensors, over connections that stay open."""

import asyncio
import json
import logging
import struct
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import aiohttp
from anyio import CapacityLimiter, to_thread

from serving.gateway.errors import Away, DeadlineExceeded, Unavailable
from serving.gateway.model_answers import Answer, read_answer, read_refusal
from serving.gateway.records.tables import Task
from serving.gateway.settings import GatewaySettings
from serving.gateway.unpacking import Unpacking
from stocktake.drift.histograms import Histogram
from stocktake.drift.measures import Measures, measure_bin, measure_photo, measure_shelf, memory_to_measure
from stocktake.errors import BadRequest

CONNECTIONS = 64
CONNECT_S = 5.0
MEASURED = 2  # photos at a time, each of which takes a core
BLOCK = 1 << 20  # bytes of a photo that are sent before the next are looked at
IDLE_S = 3.0  # that a connection is kept; predictors close theirs after five
READY = aiohttp.ClientTimeout(total=CONNECT_S)
WAKING = aiohttp.ClientTimeout(total=300)  # a pod that is started for the question, with its model
OUTPUTS = {Task.SHELVES: ("report", "boxes", "scores"), Task.BINS: ("count", "probabilities")}
VERIFIED = ("match_probability", "verdict")  # where a quantity is sent, too

logger = logging.getLogger(__name__)


class Predictors:
    """Both predictors; belongs to one event loop."""

    def __init__(self, settings: GatewaySettings, unpacking: Unpacking | None = None):
        """`unpacking`: shared with others who unpack photos, since they are measured here."""
        self._places = {
            Task.SHELVES: (settings.shelves_url.rstrip("/"), settings.shelves_model),
            Task.BINS: (settings.bins_url.rstrip("/"), settings.bins_model),
        }
        self._measuring, self._measure_every = CapacityLimiter(MEASURED), settings.measure_every
        self._unpacking = unpacking or Unpacking()
        token = settings.predictor_token
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=settings.deadline_s, sock_connect=CONNECT_S),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Accept-Encoding": "identity",  # to pack an answer costs more than to send it
                **({"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}),
            },
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def is_ready(self, task: Task) -> bool:
        """Whether the model of a task would answer."""
        url, model = self._places[task]
        try:
            async with self._http.get(f"{url}/v2/models/{model}/ready", timeout=READY) as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def references(self, wake: bool = False) -> dict[Task, dict[str, Histogram]]:
        """What photos and answers looked like when the models were made, of those that say so.

        Read anew each time: another model may have taken the place of one. `wake`: wait for predictors that
        are asleep.
        """
        patience = WAKING if wake else READY
        found = await asyncio.gather(*(self._reference(task, patience) for task in Task))
        return {task: reference for task, reference in zip(Task, found, strict=True) if reference}

    async def _reference(self, task: Task, patience: aiohttp.ClientTimeout) -> dict[str, Histogram]:
        url, model = self._places[task]
        try:
            async with self._http.get(f"{url}/v2/models/{model}", timeout=patience) as answer:
                said = json.loads((await answer.json())["properties"].get("reference", "{}"))
            return {measure: Histogram.model_validate(fields) for measure, fields in said.items()}
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError, AttributeError):
            return {}  # the last four: answers of another form

    async def ask(self, task: Task, photo: bytes, expected_quantity: int | None = None) -> Answer:
        """What is on a photo, and by which measures drift is told of it; raises as `infer`."""
        measuring = asyncio.ensure_future(self._measure(photo))
        try:
            answer = await self.infer(task, photo, expected_quantity)
        finally:
            of_photo = await measuring  # beside the predictor, which takes longer
        if task == Task.BINS:
            of_answer = measure_bin(answer.report)
        else:
            of_answer = measure_shelf(answer.report, [product[-1] for product in answer.products or ()])
        return replace(answer, measures={**of_photo, **of_answer})

    async def _measure(self, photo: bytes) -> Measures:
        if (
            zlib.crc32(photo[:1024] + photo[-1024:]) % self._measure_every
        ):  # a photo that is sent again is measured again, or is not
            return {}
        try:
            return await to_thread.run_sync(_measure, photo, self._unpacking, limiter=self._measuring)
        except Exception:  # such as too little memory; the answer is good without
            logger.exception("a photo is not measured: a fault of ours")
            return {}

    async def infer(self, task: Task, photo: bytes, expected_quantity: int | None = None) -> Answer:
        """What is on a photo: a whole JPEG, PNG or WebP file. Nothing is measured of it.

        Raises:
            UnsupportedImage, PhotoTooLarge, BadRequest: the photo is at fault; it will never be answered.
            Overloaded, Away: the predictor has not looked at it, and would not at another one; it may later.
            DeadlineExceeded, Unavailable: the predictor failed at it; it may answer later.
        """
        url, model = self._places[task]
        before, headers = _request(task, photo, expected_quantity)
        try:
            async with self._http.post(
                f"{url}/v2/models/{model}/infer",
                data=_blocks(before, photo),
                headers=headers,
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Away(f"{model} cannot be reached: {type(error).__name__}") from error
        except TimeoutError as error:
            raise DeadlineExceeded(f"{model} did not answer in time") from error
        except aiohttp.ClientError as error:
            raise Unavailable(f"{model} cannot be reached: {type(error).__name__}") from error
        if answer.status != HTTPStatus.OK:
            raise read_refusal(model, answer.status, answer.headers.get("Retry-After", ""), content)
        return read_answer(model, task, content)


def _measure(photo: bytes, unpacking: Unpacking) -> Measures:
    try:
        with unpacking.hold(memory_to_measure(photo), wait=False) as is_held:
            return measure_photo(photo) if is_held else {}  # no answer waits for pictures; it is a sample
    except BadRequest:  # the predictor says what is wrong with it
        return {}


def _request(task: Task, photo: bytes, expected_quantity: int | None) -> tuple[bytes, dict[str, str]]:
    """What comes before the bytes of the photo, and the headers of it all."""
    wanted = OUTPUTS[task] + (VERIFIED if expected_quantity is not None else ())
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    inputs: list[dict[str, Any]] = [{**tensor, "parameters": {"binary_data_size": len(photo) + 4}}]
    if expected_quantity is not None:
        quantity = {"name": "expected_quantity", "shape": [1], "datatype": "INT32"}
        inputs.append({**quantity, "data": [expected_quantity]})
    header = json.dumps({"inputs": inputs, "outputs": [{"name": name} for name in wanted]}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(len(header) + 4 + len(photo)),
        "Inference-Header-Content-Length": str(len(header)),
    }
    return header + struct.pack("<I", len(photo)), headers


async def _blocks(before: bytes, photo: bytes) -> AsyncIterator[bytes | memoryview]:
    """A body, without a second copy of the photo."""
    yield before
    for start in range(0, len(photo), BLOCK):
        yield memoryview(photo)[start : start + BLOCK]
