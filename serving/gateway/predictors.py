"""The predictors, asked over v2 REST: photos as binary tensors, over connections that stay open."""

import json
import struct
from dataclasses import dataclass
from typing import Any

import httpx

from serving.gateway.errors import DeadlineExceeded, Overloaded, Unavailable
from serving.gateway.records.tables import Task
from serving.gateway.settings import GatewaySettings
from stocktake.errors import BadRequest, PhotoTooLarge, UnsupportedImage

CONNECTIONS = 64
OUTPUTS = {Task.SHELVES: ("report", "boxes", "scores"), Task.BINS: ("count", "probabilities")}
VERIFIED = ("match_probability", "verdict")  # where a quantity is sent, too
OF_THE_PHOTO: dict[int, type[BadRequest]] = {400: BadRequest, 413: PhotoTooLarge, 415: UnsupportedImage}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a predictor says of one photo.

    `report` as DESIGN's v2 reports have it, of a shelf or of a bin; `products` of a shelf, px and score
    0..1 of each as [x0, y0, x1, y1, score], best first; `version` of the model that answered.
    """

    report: dict[str, Any]
    products: list[list[float]] | None
    model: str
    version: str


class Predictors:
    """Both predictors; belongs to one event loop."""

    def __init__(self, settings: GatewaySettings):
        self._places = {
            Task.SHELVES: (settings.shelves_url.rstrip("/"), settings.shelves_model),
            Task.BINS: (settings.bins_url.rstrip("/"), settings.bins_model),
        }
        token = settings.predictor_token
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.deadline_s, connect=5.0),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            headers={"Authorization": f"Bearer {token.get_secret_value()}"} if token else {},
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def is_ready(self, task: Task) -> bool:
        """Whether the model of a task would answer."""
        url, model = self._places[task]
        try:
            answer = await self._http.get(f"{url}/v2/models/{model}/ready", timeout=5.0)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    async def ask(self, task: Task, photo: bytes, expected_quantity: int | None = None) -> Answer:
        """What is on a photo: a whole JPEG, PNG or WebP file.

        Raises:
            UnsupportedImage, PhotoTooLarge, BadRequest: the photo is at fault; it will never be answered.
            Overloaded, DeadlineExceeded, Unavailable: the predictor is; it may answer later.
        """
        url, model = self._places[task]
        body, headers = _request(task, photo, expected_quantity)
        try:
            answer = await self._http.post(f"{url}/v2/models/{model}/infer", content=body, headers=headers)
        except httpx.TimeoutException as error:
            raise DeadlineExceeded(f"{model} did not answer in time") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"{model} cannot be reached: {type(error).__name__}") from error
        if answer.status_code != httpx.codes.OK:
            raise _refusal(model, answer)
        return _read(task, answer.content)


def _request(task: Task, photo: bytes, expected_quantity: int | None) -> tuple[bytes, dict[str, str]]:
    wanted = OUTPUTS[task] + (VERIFIED if expected_quantity is not None else ())
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES"}
    inputs: list[dict[str, Any]] = [{**tensor, "parameters": {"binary_data_size": len(photo) + 4}}]
    if expected_quantity is not None:
        quantity = {"name": "expected_quantity", "shape": [1], "datatype": "INT32"}
        inputs.append({**quantity, "data": [expected_quantity]})
    header = json.dumps({"inputs": inputs, "outputs": [{"name": name} for name in wanted]}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(header)),
    }
    return b"".join((header, struct.pack("<I", len(photo)), photo)), headers


def _refusal(model: str, answer: httpx.Response) -> Exception:
    try:
        said = str(answer.json()["error"])[:500]
    except (ValueError, KeyError, TypeError):
        said = f"HTTP {answer.status_code}"
    if fault := OF_THE_PHOTO.get(answer.status_code):
        return fault(said)
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        after = answer.headers.get("Retry-After", "")
        return Overloaded(f"{model} has too much to do", int(after) if after.isdigit() else 1)
    if answer.status_code == httpx.codes.GATEWAY_TIMEOUT:
        return DeadlineExceeded(f"{model} did not answer in time")
    return Unavailable(f"{model} refuses: {said}")


def _read(task: Task, body: bytes) -> Answer:
    said = json.loads(body)
    found = {output["name"]: output["data"] for output in said["outputs"]}
    model, version = said["model_name"], said.get("model_version") or ""
    if task == Task.SHELVES:
        boxes = [found["boxes"][start : start + 4] for start in range(0, len(found["boxes"]), 4)]
        products = [
            [*(round(side, 1) for side in box), round(score, 3)]
            for box, score in zip(boxes, found["scores"], strict=True)
        ]
        return Answer(json.loads(found["report"][0]), products, model, version)
    report: dict[str, Any] = {
        "count": found["count"][0],
        "probabilities": [round(value, 4) for value in found["probabilities"]],
    }
    if "verdict" in found:
        report["match_probability"] = round(found["match_probability"][0], 4)
        report["verdict"] = found["verdict"][0]
    return Answer(report, None, model, version)
