"""What label preparation kept, clipped and dropped, and why: as JSON, as a page and as a card."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stocktake.data_report import add_names, write_report
from stocktake.dataset import SPLITS, DatasetIndex
from stocktake.report import Report, Tile, new_figure, title_axes

GRID = 48  # cells of the heat map, each way
REASONS = {
    "not_finite": "a coordinate is not a number",
    "outside": "nothing of it lies within the photo",
    "thin": "at most 1 px wide or high, or turned inside out",
    "twice": "the same box is there already",
    "repeated_photo": "its photo is a repeat and was dropped from train",
}


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """One split after preparation; `median` and `most` are boxes per photo."""

    photos: int
    boxes: int
    median: float
    most: int


@dataclass(frozen=True, slots=True)
class LabelReport:
    """Counts that add up.

    `photos_read` = `photos_kept` + the names in `photos_dropped`, and
    `boxes_read` = `boxes_kept` + the sum of `boxes_dropped`; clipped boxes are among the kept ones.
    """

    name: str
    digest: str
    made_from: str  # digest of the index that was prepared
    photos_read: int
    photos_kept: int
    photos_dropped: dict[str, str]  # train photo -> why
    photos_empty: list[str]  # kept, without a box
    photos_repeated_elsewhere: dict[str, str]  # val and test photos that are there twice, kept -> the first
    groups_in_two_splits: list[str]
    boxes_read: int
    boxes_kept: int
    boxes_clipped: int
    boxes_dropped: dict[str, int]  # reason -> boxes
    splits: dict[str, SplitCounts]

    def summary(self) -> str:
        """One line."""
        dropped = [f"{REASONS[reason]}: {count:,}" for reason, count in self.boxes_dropped.items() if count]
        return (
            f"{self.boxes_kept:,} of {self.boxes_read:,} boxes kept in {self.photos_kept:,} of"
            f" {self.photos_read:,} photos, {self.boxes_clipped:,} of them clipped; dropped:"
            f" {', '.join(dropped) or 'none'}"
        )

    def metrics(self) -> dict[str, float]:
        """Counts as flat metrics."""
        dropped = {f"boxes_dropped_{reason}": float(count) for reason, count in self.boxes_dropped.items()}
        return {
            "photos_kept": float(self.photos_kept),
            "photos_dropped": float(len(self.photos_dropped)),
            "boxes_kept": float(self.boxes_kept),
            "boxes_clipped": float(self.boxes_clipped),
            **dropped,
        }

    def markdown(self) -> str:
        """The counts as a card."""
        rows = [f"| {split} | {found.photos:,} | {found.boxes:,} |" for split, found in self.splits.items()]
        drops = [f"| {REASONS[reason]} | {count:,} |" for reason, count in self.boxes_dropped.items()]
        return "\n".join(
            [
                f"# Labels of {self.name}",
                f"{self.summary()}.",
                "\n| split | photos | boxes |\n|---|---:|---:|",
                *rows,
                "\n| boxes dropped because | boxes |\n|---|---:|",
                *drops,
                "",
            ]
        )

    def write(self, out_dir: Path, index: DatasetIndex) -> None:
        """Write report.json and report.html; `index` is the prepared one, for the plots."""
        write_report(out_dir, self, self.page(index))

    def page(self, index: DatasetIndex) -> Report:
        """The report as a page, with the plots of the prepared boxes."""
        facts = {
            "Photos": index.metadata.get("source", self.name),
            "Licence": index.metadata.get("licence", "not known"),
            "Exclusions": index.metadata.get("exclude", "none"),
            "Made from": self.made_from,
            "Digest": self.digest,
        }
        page = Report(f"Label report: {self.name}", facts, f"{self.summary()}.")
        page.tiles(
            [
                Tile("photos kept", self.photos_kept, f"of {self.photos_read:,}"),
                Tile("boxes kept", self.boxes_kept, f"of {self.boxes_read:,}"),
                Tile("boxes clipped", self.boxes_clipped, "to the photo's edge"),
                Tile("boxes dropped", self.boxes_read - self.boxes_kept, "reasons below"),
            ]
        )
        page.section("Kept").table(
            ["split", "photos", "boxes", "median per photo", "most in a photo"],
            [
                [split, found.photos, found.boxes, found.median, found.most]
                for split, found in self.splits.items()
            ],
        )
        _add_plots(page, index)
        page.section("Dropped", "Every box that was read and is not in the prepared index.")
        page.table(
            ["reason", "boxes"], [[REASONS[reason], count] for reason, count in self.boxes_dropped.items()]
        )
        add_names(page, "Photos dropped from train", self.photos_dropped)
        page.section("Worth a look", "Kept as they are.")
        add_names(page, "Repeated in val or test", self.photos_repeated_elsewhere)
        add_names(
            page, "Photos without a box", dict.fromkeys(self.photos_empty, "teaches what is not a product")
        )
        add_names(
            page,
            "Groups in more than one split",
            dict.fromkeys(self.groups_in_two_splits, "val may be optimistic"),
        )
        return page


def _add_plots(page: Report, index: DatasetIndex) -> None:
    figure, (counts, sizes, places) = new_figure(10.5, 3.3, columns=3)
    for split in SPLITS:
        found = [len(photo.boxes) for photo in index.split(split)]
        if found:
            counts.hist(
                found,
                bins=30,
                histtype="step",
                linewidth=1.6,
                density=True,
                label=f"{split} ({len(found):,})",
            )
    title_axes(counts, "Boxes per photo")
    counts.set(xlabel="boxes", ylabel="share of photos", yticks=[])
    counts.legend(frameon=False, fontsize=8)
    widths, heights, centres = _measure(index)
    limit = float(np.quantile(np.concatenate([widths, heights]), 0.99))
    sizes.hist2d(widths, heights, bins=GRID, range=((0, limit), (0, limit)), cmap="Blues")
    title_axes(sizes, "Box sizes")
    sizes.set(xlabel="width, % of the photo's long side", ylabel="height, %")
    grid, _, _ = np.histogram2d(centres[:, 1], centres[:, 0], bins=GRID, range=((0, 1), (0, 1)))
    places.imshow(grid, cmap="Blues", extent=(0, 1, 1, 0), aspect="auto")
    title_axes(places, "Where boxes are")
    places.set(xlabel="x, share of the width", ylabel="y, share of the height")
    places.grid(visible=False)
    page.figure(
        figure,
        f"{len(widths):,} boxes in {len(index.photos):,} photos; median box {np.median(widths):.1f} % wide"
        f" and {np.median(heights):.1f} % high. Sizes up to the 99th percentile; darker is more.",
    )


def _measure(index: DatasetIndex) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths and heights in per cent of each photo's long side, and centres (n, 2) as shares of its sides."""
    widths, heights, centres = [], [], []
    for photo in index.photos:
        sides = photo.boxes[:, 2:] - photo.boxes[:, :2]
        scale = 100 / max(photo.width, photo.height)
        widths.append(sides[:, 0] * scale)
        heights.append(sides[:, 1] * scale)
        centres.append((photo.boxes[:, :2] + sides / 2) / (photo.width, photo.height))
    return np.concatenate(widths), np.concatenate(heights), np.concatenate(centres)
