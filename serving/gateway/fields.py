"""What people may write into fields: names, times, numbers."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema

LONGEST_NAME = 100
LONGEST_FILE_NAME = 255
CLOCK_SKEW = timedelta(minutes=10)  # by which a camera may be ahead of us
FIRST_PHOTO = datetime(2000, 1, 1, tzinfo=UTC)  # a camera that has lost its time says 1970
NOT_TEXT = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")  # control characters, halves, what is nothing, line ends
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")  # make text read in another order than it is written


def check_text(text: str) -> str:
    """The text itself; ValueError where there is something in it that nobody can read."""
    if any(unicodedata.category(letter) in NOT_TEXT for letter in text) or TURNS.search(text):
        raise ValueError("has control characters; write plain text")
    return text


def clean_file_name(name: str) -> str:
    """The last part of a path, as text, for people to recognise the file by; nothing is opened by it."""
    last = re.split(r"[/\\]", name)[-1]
    plain = "".join("_" if unicodedata.category(letter) in NOT_TEXT else letter for letter in last)
    return TURNS.sub("_", plain).strip()[-LONGEST_FILE_NAME:]


def check_taken_at(taken_at: datetime) -> datetime:
    """The time, which may be a little ahead. ValueError where the clock must be wrong."""
    now = datetime.now(UTC)
    if not FIRST_PHOTO <= taken_at <= now + CLOCK_SKEW:
        raise ValueError(f"the clock here says {now:%Y-%m-%dT%H:%M:%SZ}; set the camera's, or leave it out")
    return taken_at


def to_utc(time: datetime) -> datetime:
    """A time as the records have it: UTC without a zone. ValueError at the ends of the calendar."""
    try:
        return time.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError("is no time that a photo can have") from None


def utc_text(time: datetime) -> str:
    """A time of the records, UTC without a zone, in RFC 3339."""
    return time.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _rfc3339(value: Any) -> Any:
    """The text of a time; neither a number, which pydantic takes for seconds, nor one without a zone."""
    if not isinstance(value, str) or not RFC3339.fullmatch(value):
        raise ValueError("write a time with its zone, as 2026-01-31T12:00:00Z")
    return value


class _Blank:
    """An empty field of a form is none, where None may be."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_nothing, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        said = handler(schema)
        return {**said, "anyOf": [*said["anyOf"], {"const": "", "type": "string"}]}


def _nothing(value: Any) -> Any:
    return None if value == "" else value


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=LONGEST_NAME), AfterValidator(check_text)
]
Time = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
TakenAt = Annotated[Time, AfterValidator(check_taken_at)]
RecordTime = Annotated[Time, AfterValidator(to_utc)]  # of a query; naive, in UTC
Blank = _Blank()
Quantity = Annotated[int, Field(ge=0, lt=2**31)]
UtcTime = Annotated[datetime, PlainSerializer(utc_text, return_type=str)]
