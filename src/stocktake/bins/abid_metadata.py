"""One metadata file of ABID: the quantity, the SKUs, and what is odd about it."""

import json
from dataclasses import dataclass, field
from typing import Any

from stocktake.errors import DataError

ITEM_FIELDS = ("asin", "name", "normalizedName", "quantity", "height", "length", "width", "weight")


@dataclass(frozen=True, slots=True)
class BinMetadata:
    """What is used of a metadata file. `remarks` are kept for the report: remark -> what was found."""

    quantity: int  # items, EXPECTED_QUANTITY
    skus: tuple[str, ...]  # sorted; by them neighbours are known to show the same bin
    remarks: dict[str, str] = field(default_factory=dict)


class NoQuantityError(DataError):
    """The file is sound, but nobody recorded how many items are in the bin."""


def parse_metadata(data: bytes) -> BinMetadata:
    """Read {"BIN_FCSKU_DATA": {key: {"asin", "quantity", …}}, "EXPECTED_QUANTITY": n}.

    An item's key and its asin are both taken for its SKU, since they differ for some.

    Raises:
        NoQuantityError: EXPECTED_QUANTITY is absent, null or no count.
        DataError: it is not a JSON object of this kind.
    """
    record = load_object(data)
    items = record.get("BIN_FCSKU_DATA")
    if items is not None and not isinstance(items, dict):
        raise DataError(f"BIN_FCSKU_DATA is a {type(items).__name__}, expected an object")
    quantity = as_count(record.get("EXPECTED_QUANTITY"))
    if quantity is None:
        raise NoQuantityError(f"EXPECTED_QUANTITY is {json.dumps(record.get('EXPECTED_QUANTITY'))[:40]}")
    skus, total = set[str](), 0
    nulls = set[str]() if items is not None else {"BIN_FCSKU_DATA"}
    for key, item in (items or {}).items():
        found = item if isinstance(item, dict) else {}
        nulls.update(name for name in ITEM_FIELDS if _is_null(found.get(name)))
        skus.update(text for text in (key, found.get("asin")) if isinstance(text, str) and text)
        total += as_count(found.get("quantity")) or 0
    return BinMetadata(quantity, tuple(sorted(skus)), _remarks(items, quantity, total, nulls))


def load_object(data: bytes) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: it holds something else; an HTML page that was saved under the name is told as such.
    """
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DataError("an HTML page saved as JSON; download the file itself, not the page that shows it")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})" if data.strip() else "an empty file") from error
    if not isinstance(content, dict):
        raise DataError(f"a JSON {type(content).__name__}, expected an object")
    return content


def as_count(value: object) -> int | None:
    """A whole number from 0 up, also where it is written as 3.0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value >= 0 and value == value // 1 and value < 2**31 else None


def _remarks(items: dict[str, Any] | None, quantity: int, total: int, nulls: set[str]) -> dict[str, str]:
    remarks = {}
    if items == {}:
        remarks["empty_bin"] = f"BIN_FCSKU_DATA is {{}}, EXPECTED_QUANTITY is {quantity}"
    if total != quantity:
        remarks["quantity_not_sum"] = f"EXPECTED_QUANTITY is {quantity}, the items' quantities sum to {total}"
    if nulls:
        remarks["null_fields"] = ", ".join(sorted(nulls))
    return remarks


def _is_null(value: object) -> bool:
    """True for null and for a measure like {"unit": "IN", "value": null}."""
    return value is None or (isinstance(value, dict) and value.get("value") is None)
