"""How bins were split: shares per class, and the leak that a split by photo would have had."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stocktake.data_report import add_names, write_report
from stocktake.dataset import SPLITS
from stocktake.markdown import card
from stocktake.report import Report, Tile, new_figure, title_axes


@dataclass(frozen=True, slots=True)
class SplitReport:
    """Counts that add up: `photos_read` = `photos_kept` + the sum of `other_counts`."""

    name: str
    source: str
    licence: str
    digest: str
    made_from: str  # digest of the index that was prepared
    seed: int
    photos_read: int
    photos_kept: int
    other_counts: dict[str, int]  # items -> photos that are left out
    groups: dict[str, int]  # split -> groups
    classes: dict[str, dict[str, int]]  # items -> split -> photos
    thin: dict[str, str]  # class and split with no photo, or with less than half of its share -> what it has
    moved: dict[str, str]  # group -> why it is not where its hash puts it
    leak: float  # share of test photos with a mate of their group in train
    leak_by_photo: float  # the same for a random split by photo

    @property
    def splits(self) -> dict[str, int]:
        """Photos by split."""
        return {split: sum(found[split] for found in self.classes.values()) for split in SPLITS}

    def summary(self) -> str:
        """One line."""
        shares = ", ".join(f"{split} {photos:,}" for split, photos in self.splits.items())
        return (
            f"{self.photos_kept:,} of {self.photos_read:,} photos kept ({shares}); leak from train to test"
            f" {self.leak:.1%}, in a split by photo {self.leak_by_photo:.1%}"
        )

    def metrics(self) -> dict[str, float]:
        """Counts as flat metrics."""
        return {
            "photos_kept": self.photos_kept,
            "photos_of_other_counts": sum(self.other_counts.values()),
            **{f"photos_{split}": photos for split, photos in self.splits.items()},
            "leak": self.leak,
            "leak_by_photo": self.leak_by_photo,
        }

    def markdown(self) -> str:
        """The counts as a card."""
        rows = [{"items": count, **found} for count, found in self.classes.items()]
        facts = {"Licence": self.licence, "Made from": self.made_from, "Digest": self.digest}
        facts |= {f"Few: {cell}": found for cell, found in self.thin.items()}
        return card(f"Split: {self.name}", f"{self.summary()}.", facts, rows)

    def write(self, out_dir: Path) -> None:
        """Write report.json and report.html."""
        write_report(out_dir, self, self._page())

    def _page(self) -> Report:
        facts = {
            "Photos": self.source,
            "Licence": self.licence,
            "Seed": str(self.seed),
            "Made from": self.made_from,
            "Digest": self.digest,
        }
        page = Report(f"Split: {self.name}", facts, f"{self.summary()}.")
        page.tiles(
            [
                Tile(
                    "leak",
                    f"{self.leak:.1%}",
                    "test photos with a mate in train",
                    "bad" if self.leak else "good",
                ),
                Tile("by photo", f"{self.leak_by_photo:.1%}", "the leak of a random split"),
                *(
                    Tile(split, photos, f"{photos / max(1, self.photos_kept):.1%} of the photos")
                    for split, photos in self.splits.items()
                ),
            ]
        )
        page.section(
            "Classes",
            "Photos by items in the bin. Photos that show the same bin are in one split, as a group.",
        )
        page.table(
            ["items", *SPLITS, "all", *(f"{split}, share" for split in SPLITS)],
            [_row(count, found) for count, found in self.classes.items()]
            + [
                _row("all", self.splits),
                ["groups", *self.groups.values(), sum(self.groups.values()), *[None] * 3],
            ],
            highlight={len(self.classes)},
        )
        self._add_plot(page)
        page.section("Left out", "Photos whose count is none of the classes.")
        page.table(["items", "photos"], list(self.other_counts.items()))
        page.section("Worth a look")
        add_names(page, "Classes with no photo in a split, or with less than half of their share", self.thin)
        add_names(page, "Groups that are not where their hash puts them", self.moved)
        return page

    def _add_plot(self, page: Report) -> None:
        figure, (axes,) = new_figure(7, 3)
        bottom = np.zeros(len(self.classes))
        for split in SPLITS:
            photos = np.array([found[split] for found in self.classes.values()])
            axes.bar(np.arange(len(photos)), photos, bottom=bottom, label=split, width=0.7)
            bottom += photos
        axes.set_xticks(np.arange(len(self.classes)), list(self.classes))
        title_axes(axes, "Photos by items in the bin")
        axes.set(xlabel="items", ylabel="photos")
        axes.legend(frameon=False, fontsize=8)
        page.figure(figure, "How the classes are spread over the splits.")


def _row(label: str, found: dict[str, int]) -> list[object]:
    total = sum(found.values())
    shares = [f"{photos / max(1, total):.1%}" for photos in found.values()]
    return [label, *found.values(), total, *shares]
