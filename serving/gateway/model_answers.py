"""What predictors answer over v2 REST: read, or told apart where it is not what was asked for."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

from pydantic import BaseModel, Field, FiniteFloat, Json, NonNegativeInt, ValidationError, model_validator

from serving.gateway.errors import Away, DeadlineExceeded, Overloaded, Unavailable
from serving.gateway.records.tables import Task
from stocktake.bins.verification import Verdict
from stocktake.drift.measures import Measures
from stocktake.errors import BadRequest, PhotoTooLarge, UnsupportedImage

OF_THE_PHOTO: dict[int, type[BadRequest]] = {400: BadRequest, 413: PhotoTooLarge, 415: UnsupportedImage}
NOT_ASKED = (401, 403, 404, 405)  # a token, model or address is not right, whatever the photo


@dataclass(frozen=True, slots=True)
class Answer:
    """What a predictor says of one photo.

    `report` as DESIGN's v2 reports have it, of a shelf or of a bin; `products` of a shelf, px and score
    0..1 of each as [x0, y0, x1, y1, score], best first; `version` of the model that answered; `measures` of
    the photo and of this answer, by which drift is told.
    """

    report: dict[str, Any]
    products: list[list[float]] | None
    model: str
    version: str
    measures: Measures = field(default_factory=dict)


class _Void(BaseModel, strict=True):
    box: list[FiniteFloat] = Field(min_length=4, max_length=4)
    tier: int
    position: int
    facings: int
    confidence: FiniteFloat
    kind: str


class _Report(BaseModel, strict=True):
    products: NonNegativeInt
    tiers: NonNegativeInt
    osa: FiniteFloat
    voids: list[_Void]


class _Shelf(BaseModel):
    report: tuple[Json[dict[str, Any]]]
    boxes: list[FiniteFloat]
    scores: list[FiniteFloat]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.boxes) != 4 * len(self.scores):
            raise ValueError("boxes and scores are not of as many products")
        return self


class _Bin(BaseModel):
    count: tuple[NonNegativeInt]
    probabilities: list[FiniteFloat] = Field(min_length=1)
    match_probability: tuple[FiniteFloat] | None = None
    verdict: tuple[Verdict] | None = None


class _Output(BaseModel):
    name: str
    data: list[Any]


class _Said(BaseModel):
    model_name: str = Field(max_length=100)
    model_version: str | None = Field(None, max_length=64)
    outputs: list[_Output]


class _Refusal(BaseModel):
    error: str


def read_answer(model: str, task: Task, content: bytes) -> Answer:
    """What a predictor says with 200.

    Raises:
        Unavailable: it is no answer to the question; names what is wrong, never what was found.
    """
    try:
        said = _Said.model_validate_json(content)
        found = {output.name: output.data for output in said.outputs}
        report, products = _of_shelf(found) if task == Task.SHELVES else _of_bin(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise Unavailable(f"{model} answers what is not understood: {where}: {first['msg']}") from error
    return Answer(report, products, said.model_name, said.model_version or "")


def read_refusal(model: str, status: int, retry_after: str, content: bytes) -> Exception:
    """What another status means, for the photo and for those that follow.

    A 400, 413 or 415 is believed where the predictor itself says so, as `{"error": …}`; what stands before it
    may refuse a photo for reasons of its own, such as a limit that somebody will raise.

    Args:
        retry_after: the header of this name, empty where there is none.
    """
    try:
        said = _Refusal.model_validate_json(content).error[:500]
    except ValidationError:
        said = ""
    why = f"HTTP {status}, {said}" if said else f"HTTP {status}"
    if status in OF_THE_PHOTO:
        before = Unavailable(f"what stands before {model} refuses the photo: {why}")
        return OF_THE_PHOTO[status](said) if said else before
    if status in NOT_ASKED or 300 <= status < 400:
        return Away(f"{model} cannot be asked: {why}")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Away(f"{model} is not ready: {why}")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Overloaded(f"{model} has too much to do", _seconds(retry_after))
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        return DeadlineExceeded(f"{model} did not answer in time")
    return Unavailable(f"{model} refuses: {why}")


def _of_shelf(found: dict[str, list[Any]]) -> tuple[dict[str, Any], list[list[float]]]:
    said = _Shelf.model_validate(found)
    (report,) = said.report
    _Report.model_validate(report)  # and kept as it came
    boxes = [said.boxes[start : start + 4] for start in range(0, len(said.boxes), 4)]
    products = [
        [*(round(side, 1) for side in box), round(score, 3)]
        for box, score in zip(boxes, said.scores, strict=True)
    ]
    return report, products


def _of_bin(found: dict[str, list[Any]]) -> tuple[dict[str, Any], None]:
    said = _Bin.model_validate(found)
    report: dict[str, Any] = {
        "count": said.count[0],
        "probabilities": [round(value, 4) for value in said.probabilities],
    }
    if said.verdict is not None and said.match_probability is not None:
        report["match_probability"] = round(said.match_probability[0], 4)
        report["verdict"] = said.verdict[0]
    return report, None


def _seconds(retry_after: str) -> int:
    """Of a Retry-After, which may be a date, too."""
    return int(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else 1
