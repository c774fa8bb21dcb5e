"""Where a page of a list ends, as a text for the next one to begin; its form is nobody else's business."""

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import StringConstraints

from serving.gateway.fields import check_text
from stocktake.errors import BadRequest

Cursor = Annotated[str, StringConstraints(max_length=1100)]  # two names of 100 letters of 4 bytes, in base64
ROW_ID = re.compile("[0-9a-f]{32}")


def write_cursor(*last: str | float) -> str:
    """What the last row of a page is sorted by."""
    return base64.urlsafe_b64encode(json.dumps(last, ensure_ascii=False).encode()).decode()


def read_cursor(cursor: str, *kinds: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The same again, each as its `kind` makes it, which raises ValueError where it cannot be.

    Raises:
        BadRequest: it is no cursor of this list.
    """
    try:
        last = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if not isinstance(last, list):
            raise ValueError
        return tuple(kind(each) for kind, each in zip(kinds, last, strict=True))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
        raise BadRequest("cursor: not one that was given out; leave it away to begin anew") from error


def is_row_id(text: str) -> bool:
    """Whether a row can have this id; databases differ in what they take for one."""
    return bool(ROW_ID.fullmatch(text))


def row_id(value: Any) -> str:
    """An id out of a cursor."""
    if not isinstance(value, str) or not is_row_id(value):
        raise ValueError
    return value


def name(value: Any) -> str:
    """A name out of a cursor."""
    if not isinstance(value, str):
        raise TypeError
    return check_text(value)


def number(value: Any) -> float:
    """A number out of a cursor, which is finite."""
    if not isinstance(value, int | float) or not abs(value) < 1e15:
        raise ValueError
    return float(value)
