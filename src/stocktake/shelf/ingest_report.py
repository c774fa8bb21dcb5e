"""What an ingest kept, what it left out and why, for machines (JSON) and for people (HTML)."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stocktake.data_report import add_names, write_report
from stocktake.dataset import SPLITS, DatasetIndex
from stocktake.markdown import card
from stocktake.report import Report, new_figure, title_axes
from stocktake.shelf.annotations import Annotations
from stocktake.shelf.sku110k_rows import Joined

REASONS = {
    "unreadable": "cannot be decoded to its last byte",
    "wrong_size": "its size is not the one in its rows",
    "no_rows": "has no rows in the annotation files",
    "excluded": "on the strict exclusion list",
    "beyond_limit": "left out by the limit",
    "photo_missing": "the photo is not in the source",
    "second_split": "the photo is listed in two splits and used in one",
}


@dataclass(frozen=True)
class IngestReport:
    """Counts that add up.

    `photos_found` = `photos_kept` + the names in `left_out`, and
    `rows_read` = `boxes_kept` + the sum of `rows_left_out`.
    """

    name: str
    source: str
    store: str
    licence: str
    exclude: str
    digest: str
    photos_found: int
    photos_kept: int
    rows_read: int
    boxes_kept: int
    boxes_outside: int  # kept boxes that reach over the photo's edge
    boxes_degenerate: int  # kept boxes without width or height
    splits: dict[str, dict[str, int]]  # split -> photos, boxes
    left_out: dict[str, dict[str, str]]  # reason -> photo -> what was found
    missing: list[str]  # annotated photos that are not in the source
    rows_left_out: dict[str, int]  # reason -> rows
    remarks: dict[str, dict[str, str]]  # kept photos that are worth a look: remark -> photo -> what was found
    classes: dict[str, int]  # the class column; every row is taken for a product
    examined: int  # photos decoded by this run
    known: int  # photos that an earlier run had dealt with
    other_files: int  # files that are neither photos nor annotations
    repeated_files: int  # photos that come twice under one name; the first is used
    bytes: int
    seconds: float

    def reasons(self) -> str:
        """One line: how many photos were left out for which reason."""
        counts = [f"{REASONS[reason]}: {len(names)}" for reason, names in self.left_out.items() if names]
        if self.missing:
            counts.append(f"annotated but not in the source: {len(self.missing)}")
        return ", ".join(counts) or "nothing was left out"

    def metrics(self) -> dict[str, float]:
        """The counts that are compared between runs."""
        return {
            "photos": self.photos_kept,
            "photos_left_out": self.photos_found - self.photos_kept,
            "photos_missing": len(self.missing),
            "boxes": self.boxes_kept,
            "rows_left_out": sum(self.rows_left_out.values()),
        }

    def markdown(self) -> str:
        """A card for pipeline UIs."""
        rows = [{"split": split, **counts} for split, counts in self.splits.items()]
        facts = {"Source": self.source, "Licence": self.licence, "Digest": self.digest}
        return card(f"Ingested: {self.name}", self._summary(), facts, rows)

    def write(self, out_dir: Path, index: DatasetIndex | None) -> None:
        """Write report.json, and report.html where there is an index to show."""
        write_report(out_dir, self, None if index is None else self._page(index))

    def _page(self, index: DatasetIndex) -> Report:
        facts = {
            "Source": self.source,
            "Store": self.store,
            "Licence": self.licence,
            "Exclusions": self.exclude,
        }
        page = Report(f"Data report: {self.name}", {**facts, "Digest": self.digest}, self._summary())
        page.section("Kept").table(
            ["split", "photos", "boxes", "boxes per photo"],
            [
                [split, counts["photos"], counts["boxes"], counts["boxes"] / max(1, counts["photos"])]
                for split, counts in self.splits.items()
            ],
        )
        _add_plots(page, index)
        page.section(
            "Left out", "Every photo and row that was found and is not in the index, with the reason."
        )
        page.table(
            ["reason", "photos", "rows"],
            [
                [text, self._photos_for(reason), self.rows_left_out.get(reason, 0)]
                for reason, text in REASONS.items()
            ],
        )
        for reason, names in self.left_out.items():
            add_names(page, REASONS[reason], names)
        add_names(
            page, REASONS["photo_missing"], dict.fromkeys(self.missing, "named in the annotation files")
        )
        page.section("Worth a look", "Kept as they are.").table(
            ["what", "how many"],
            [
                ["boxes that reach over the photo's edge", self.boxes_outside],
                ["boxes without width or height", self.boxes_degenerate],
                *([remark, len(names)] for remark, names in self.remarks.items()),
                *([f"rows of class {label!r}", count] for label, count in self.classes.items()),
            ],
        )
        for remark, names in self.remarks.items():
            add_names(page, remark, names)
        return page

    def _summary(self) -> str:
        return f"{self.photos_kept:,} of {self.photos_found:,} photos kept; {self.reasons()}."

    def _photos_for(self, reason: str) -> int:
        return len(self.missing) if reason == "photo_missing" else len(self.left_out.get(reason, {}))


def make_report(
    index: DatasetIndex, annotations: Annotations, joined: Joined, counts: Counter[str], seconds: float
) -> IngestReport:
    """Count what the join found."""
    splits = {}
    for split in SPLITS:
        photos = index.split(split)
        splits[split] = {"photos": len(photos), "boxes": sum(len(photo.boxes) for photo in photos)}
    return IngestReport(
        name=index.metadata["name"],
        source=index.metadata["source"],
        store=index.store,
        licence=index.metadata["licence"],
        exclude=index.metadata["exclude"],
        digest=index.digest,
        photos_found=len(index.photos) + sum(map(len, joined.left_out.values())),
        photos_kept=len(index.photos),
        rows_read=annotations.rows,
        boxes_kept=sum(len(photo.boxes) for photo in index.photos),
        boxes_outside=joined.boxes_outside,
        boxes_degenerate=joined.boxes_degenerate,
        splits=splits,
        left_out={reason: names for reason, names in joined.left_out.items() if names},
        missing=joined.missing,
        rows_left_out=dict(joined.rows_left_out),
        remarks=dict(joined.remarks),
        classes=dict(annotations.classes),
        examined=counts["examined"],
        known=counts["known"],
        other_files=counts["other_files"],
        repeated_files=counts["repeated_files"],
        bytes=counts["bytes"],
        seconds=round(seconds, 2),
    )


def _add_plots(page: Report, index: DatasetIndex) -> None:
    sizes = np.array([(photo.width, photo.height) for photo in index.photos])
    counts = np.array([len(photo.boxes) for photo in index.photos])
    figure, (left, right) = new_figure(9, 3.4, columns=2)
    left.scatter(sizes[:, 0], sizes[:, 1], s=14, alpha=0.35)
    title_axes(left, "Photo sizes")
    left.set(xlabel="width, px", ylabel="height, px", xlim=(0, None), ylim=(0, None))
    right.hist(counts, bins=min(40, max(5, len(counts) // 4)))
    title_axes(right, "Boxes per photo")
    right.set(xlabel="boxes", ylabel="photos")
    median = np.median(sizes, axis=0).astype(int)
    page.figure(
        figure,
        f"{len(index.photos):,} photos, median size {median[0]}x{median[1]} px; "
        f"{counts.mean():.0f} boxes per photo, at most {counts.max()}.",
    )
