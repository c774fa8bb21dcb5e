"""What reports about data share: counts in report.json, a page in report.html, lists of names on it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stocktake.errors import StoreError
from stocktake.files import atomic_path, explain_os_error
from stocktake.report import Report

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Counts = TypeVar("Counts")

LONGEST_LIST = 50  # names shown on the page; report.json has them all


def write_report(out_dir: Path, counts: "DataclassInstance", page: Report | None) -> None:
    """Write `counts` as report.json, and `page`, where there is one, as report.html.

    Raises:
        StoreError: the folder cannot be written to.
    """
    try:
        with atomic_path(out_dir / "report.json") as part:
            part.write_text(json.dumps(asdict(counts), indent=2) + "\n", "utf-8")
        if page is not None:
            with atomic_path(out_dir / "report.html") as part:
                page.write(part)
    except OSError as error:
        raise StoreError(explain_os_error(error, out_dir)) from error


def read_report(kind: type[Counts], out_dir: Path) -> Counts:
    """The counts that `write_report` has left in a folder, as the dataclass that they were."""
    return kind(**json.loads((out_dir / "report.json").read_text("utf-8")))


def add_names(page: Report, title: str, names: Mapping[str, str]) -> None:
    """Add a table of names -> what was found, or one line where there are none."""
    if not names:
        page.text(f"{title}: none.")
        return
    shown = list(names.items())[:LONGEST_LIST]
    more = (
        f"; the first {len(shown)} of {len(names)}, all are in report.json" if len(shown) < len(names) else ""
    )
    page.table(["name", "what was found"], shown, f"{title}{more}")
