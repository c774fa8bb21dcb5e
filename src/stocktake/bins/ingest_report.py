"""What an ingest of bins kept, what it left out and why, for machines (JSON) and for people (HTML)."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stocktake.bins.abid_parts import Bin, Parts
from stocktake.bins.abid_reading import Run
from stocktake.data_report import add_names, write_report
from stocktake.dataset import DatasetIndex
from stocktake.markdown import card
from stocktake.report import Report, Tile, new_figure, title_axes

REASONS = {
    "metadata_missing": "there is no metadata file",
    "metadata_unreadable": "its metadata is not JSON of this kind",
    "no_quantity": "its metadata has no EXPECTED_QUANTITY",
    "photo_missing": "there is no photo",
    "photo_unreadable": "its photo cannot be decoded to its last byte",
}
REMARKS = {
    "empty_bin": "no article in the metadata",
    "quantity_not_sum": "EXPECTED_QUANTITY is not the sum of the quantities",
    "null_fields": "fields that are null or absent",
    "other_count_in_list": "the file list has it under another count",
    "same_photo": "the same bytes as another photo",
    "repeated_id": "found or listed twice",
}
MOST_SHOWN = 12  # counts that have a bar of their own in the plot
MOST_DOTS = 5000  # photo sizes in the plot


@dataclass(frozen=True)
class IngestReport:
    """Counts that add up: `photos_found` = `photos_kept` + the ids in `left_out` + `beyond_selection`."""

    name: str
    source: str
    store: str
    licence: str
    selection: str
    digest: str
    photos_found: int  # ids with a photo, metadata or both, up to where the selection was full
    photos_kept: int
    beyond_selection: int  # bins of counts whose quota was full
    quantities: dict[str, int]  # items -> photos
    mean_quantity: float
    groups: int  # runs of photos that show the same bin
    grouped_photos: int  # photos that have a mate in their group
    largest_group: int
    left_out: dict[str, dict[str, str]]  # reason -> id -> what was found
    remarks: dict[str, dict[str, str]]  # kept bins that are worth a look: remark -> id -> what was found
    other_files: int  # files of the source that belong to no bin
    shard_files: int  # tar shards that hold the photos; 0 where they stay in place
    read: int  # bins read by this run
    known: int  # bins that an earlier run had dealt with
    bytes: int  # of the photos kept
    seconds: float  # of this run

    def reasons(self) -> str:
        """One line: how many bins were left out for which reason."""
        counts = [f"{REASONS[reason]}: {len(names):,}" for reason, names in self.left_out.items()]
        return ", ".join(counts) or "nothing was left out"

    def summary(self) -> str:
        """One line."""
        beyond = f"; {self.beyond_selection:,} more than were asked for" if self.beyond_selection else ""
        return f"{self.photos_kept:,} of {self.photos_found:,} bins kept; {self.reasons()}{beyond}"

    def metrics(self) -> dict[str, float]:
        """The counts that are compared between runs."""
        return {
            "photos": self.photos_kept,
            "photos_left_out": sum(map(len, self.left_out.values())),
            "groups": self.groups,
            "mean_quantity": self.mean_quantity,
            **{f"left_out_{reason}": len(names) for reason, names in self.left_out.items()},
        }

    def markdown(self) -> str:
        """A card for pipeline UIs."""
        rows = [{"items": count, "photos": photos} for count, photos in self.quantities.items()]
        facts = {"Source": self.source, "Licence": self.licence, "Digest": self.digest}
        return card(f"Ingested: {self.name}", f"{self.summary()}.", facts, rows)

    def write(self, out_dir: Path, index: DatasetIndex | None) -> None:
        """Write report.json, and report.html where there is an index to show."""
        write_report(out_dir, self, self._page(index) if index is not None else None)

    def _page(self, index: DatasetIndex) -> Report:
        facts = {
            "Source": self.source,
            "Photos": self.store,
            "Licence": self.licence,
            "Selection": self.selection,
            "Digest": self.digest,
        }
        page = Report(f"Data report: {self.name}", facts, f"{self.summary()}.")
        page.tiles(
            [
                Tile("photos kept", self.photos_kept, f"of {self.photos_found:,} bins found"),
                Tile("items per bin", self.mean_quantity, "mean of EXPECTED_QUANTITY"),
                Tile("groups", self.groups, "runs of photos of one bin"),
                Tile("with a mate", self.grouped_photos / max(1, self.photos_kept), "share of the photos"),
                Tile("megabytes", self.bytes / 1e6, f"in {self.shard_files or self.photos_kept:,} objects"),
            ]
        )
        page.section("Kept", "The quantity is the record's EXPECTED_QUANTITY, not a count by eye.")
        _add_plots(page, index)
        page.section("Left out", "Every id that was found and is not in the index, with the reason.")
        page.table(
            ["reason", "bins"],
            [
                *([text, len(self.left_out.get(reason, {}))] for reason, text in REASONS.items()),
                ["beyond the quota", self.beyond_selection],
            ],
        )
        for reason, names in self.left_out.items():
            add_names(page, REASONS[reason].capitalize(), names)
        page.section("Worth a look", "Kept as they are.").table(
            ["what", "how many"],
            [
                *([text, len(self.remarks.get(remark, {}))] for remark, text in REMARKS.items()),
                ["files that belong to no bin", self.other_files],
            ],
        )
        for remark, names in self.remarks.items():
            add_names(page, REMARKS[remark].capitalize(), names)
        return page


def make_report(
    index: DatasetIndex, bins: list[Bin], parts: Parts, beyond: int, done: Run, seconds: float
) -> IngestReport:
    """Count what was found.

    Args:
        index: the photos that are kept.
        bins: kept and left out, in the order of their ids.
        parts: what the workers have read.
        beyond: bins that the selection did not want.
        done: what this run had to read.
        seconds: of this run.
    """
    left_out: dict[str, dict[str, str]] = defaultdict(dict)
    remarks: dict[str, dict[str, str]] = defaultdict(dict)
    for found in bins:
        if found.reason:
            left_out[found.reason][found.id] = found.found
            continue
        for remark, text in found.remarks.items():
            remarks[remark][found.id] = text
    remarks["same_photo"] = _same_photos(bins)
    remarks["repeated_id"] = parts.repeated
    counts = Counter(photo.quantity or 0 for photo in index.photos)
    sizes = Counter(photo.group for photo in index.photos)
    kept = len(index.photos)
    return IngestReport(
        name=parts.about["name"],
        source=parts.about["source"],
        store=index.store,
        licence=parts.about["licence"],
        selection=parts.about["selection"],
        digest=index.digest,
        photos_found=len(bins) + beyond,
        photos_kept=kept,
        beyond_selection=beyond,
        quantities={str(count): counts[count] for count in sorted(counts)},
        mean_quantity=sum(count * photos for count, photos in counts.items()) / max(1, kept),
        groups=len(sizes),
        grouped_photos=sum(size for size in sizes.values() if size > 1),
        largest_group=max(sizes.values(), default=0),
        left_out={reason: left_out[reason] for reason in REASONS if left_out[reason]},
        remarks={remark: remarks[remark] for remark in REMARKS if remarks[remark]},
        other_files=parts.other_files,
        shard_files=len({photo.uri for photo in index.photos if photo.offset is not None}),
        read=done.read,
        known=done.known,
        bytes=sum(photo.length for photo in index.photos),
        seconds=round(seconds, 2),
    )


def _same_photos(bins: list[Bin]) -> dict[str, str]:
    first: dict[str, str] = {}
    same = {}
    for found in bins:
        if found.reason:
            continue
        if found.sha256 in first:
            same[found.id] = f"as {first[found.sha256]}"
        first.setdefault(found.sha256, found.id)
    return same


def _add_plots(page: Report, index: DatasetIndex) -> None:
    counts = np.array([photo.quantity or 0 for photo in index.photos])
    sizes = np.array([(photo.width, photo.height) for photo in index.photos])
    groups = np.array(list(Counter(photo.group for photo in index.photos).values()))
    figure, (left, middle, right) = new_figure(10.5, 3.3, columns=3)
    shown = np.minimum(counts, MOST_SHOWN)
    left.bar(range(MOST_SHOWN + 1), np.bincount(shown, minlength=MOST_SHOWN + 1))
    title_axes(left, "Items per bin")
    ticks = range(0, MOST_SHOWN + 1, 2)
    left.set_xticks(ticks, [f"{tick}+" if tick == MOST_SHOWN else str(tick) for tick in ticks])
    left.set(xlabel="EXPECTED_QUANTITY", ylabel="photos")
    dots = sizes[:: 1 + len(sizes) // MOST_DOTS]
    middle.scatter(dots[:, 0], dots[:, 1], s=14, alpha=0.35)
    title_axes(middle, "Photo sizes")
    middle.set(xlabel="width, px", ylabel="height, px", xlim=(0, None), ylim=(0, None))
    largest = int(groups.max())
    right.bar(range(1, largest + 1), np.bincount(groups, minlength=largest + 1)[1:])
    title_axes(right, "Photos per group")
    right.set(xlabel="photos", ylabel="groups")
    median = np.median(sizes, axis=0).astype(int)
    page.figure(
        figure,
        f"{len(counts):,} photos, median size {median[0]}x{median[1]} px; {counts.mean():.2f} items per bin,"
        f" at most {counts.max()}; {len(groups):,} groups of up to {largest} photos.",
    )
