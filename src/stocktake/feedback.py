"""The feedback index: what people said about answered photos, a line of JSON for each photo.

The first line says what file it is. Boxes are xyxy px of the photo after EXIF rotation, as in its report.
"""

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stocktake.errors import DataError
from stocktake.storage import store_of

SCHEMA_VERSION = 1
HEADER = {"stocktake_feedback": SCHEMA_VERSION}

Box = tuple[float, float, float, float]


class JudgedVoid(BaseModel):
    """A void of the report, and what a person said of it; None = nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    box: Box
    tier: int
    position: int
    facings: int
    confidence: float
    kind: str
    verdict: Literal["void", "not_a_void"] | None = None


class LabelledPhoto(BaseModel):
    """An answered photo that somebody said something about."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    uri: str  # of its file
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    length: int  # bytes
    width: int  # px after EXIF rotation
    height: int
    task: Literal["shelves", "bins"]
    group: str  # its bay, whose photos look alike; its digest where it has none
    taken_at: str  # RFC 3339, UTC
    model: str  # that made the report, and its version
    model_version: str
    products: list[tuple[float, float, float, float, float]] = []  # box and score, as they were detected
    voids: list[JudgedVoid] = []
    missed: list[Box] = []  # voids that the report lacks
    count: int | None = None  # items in a bin, by the model
    counted: int | None = None  # by a person


def write_feedback(photos: Iterable[LabelledPhoto], uri: str) -> int:
    """Write an index to a file or s3:// object; returns how many photos are in it.

    Raises:
        StoreError: the place cannot be written.
    """
    lines = [json.dumps(HEADER), *(photo.model_dump_json() for photo in photos)]
    store, name = store_of(uri)
    store.put(name, ("\n".join(lines) + "\n").encode())
    return len(lines) - 1


def read_feedback(uri: str) -> list[LabelledPhoto]:
    """Read an index.

    Raises:
        DataError: it is none of this version, or a line is broken; names the line.
        StoreError: it cannot be read.
    """
    store, name = store_of(uri)
    lines = store.get(name).decode("utf-8", "replace").splitlines()
    if not lines or _header(lines[0]) != HEADER:
        raise DataError(
            f"{uri}: not a feedback index; make one with `python -m serving.gateway feedback --to {uri}`"
        )
    photos = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            photos.append(LabelledPhoto.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise DataError(f"{uri}, line {number}: {where}: {first['msg']}; export it again") from error
    return photos


def _header(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
