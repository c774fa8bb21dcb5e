"""Tables for spreadsheets."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

from serving.gateway.records.tables import Photo
from serving.gateway.views import PhotoSummary

COLUMNS = [name for name in PhotoSummary.model_fields if name != "links"]
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would work out
ROWS_AT_ONCE = 200


def csv_rows(photos: Iterable[Photo]) -> Iterator[str]:
    """Lines of a CSV file of photos, see `csv_lines`."""
    return csv_lines(COLUMNS, (PhotoSummary.of(photo).model_dump(mode="json") for photo in photos))


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Lines of a CSV file, its header first; no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for number, row in enumerate(rows, start=1):
        writer.writerow([as_cell(row[name]) for name in columns])
        if number % ROWS_AT_ONCE == 0:
            yield _take(text)
    yield _take(text)


def as_cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _take(text: io.StringIO) -> str:
    taken = text.getvalue()
    text.seek(0)
    text.truncate()
    return taken
