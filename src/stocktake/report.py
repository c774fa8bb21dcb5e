"""A small builder of HTML reports: one file, no external resources, for phones, dark rooms and paper too.

A report is a list of blocks in reading order; every builder method appends one and returns the report:

    report = Report("Data report", {"Photos": 8219, "Boxes": 1_208_482})
    report.section("Sizes", "How large the boxes are.").table(["side", "median"], [["width", 103]])
    report.figure(figure, "Box sizes in px").write(Path("report.html"))

All text is escaped by Jinja's autoescape; nothing is trusted as HTML.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from stocktake.errors import DataError
from stocktake.images import encode_jpeg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURE_DPI = 144
JPEG_QUALITY = 82
PALETTE = ("#1668c7", "#e0662f", "#2f9e72", "#8b5cc9", "#7a8699")  # of plots: ours first


@dataclass(frozen=True, slots=True)
class Tile:
    """A key figure: a large value with its name and a remark below, such as what it is compared with."""

    label: str
    value: object
    remark: str = ""
    tone: Literal["plain", "good", "bad"] = "plain"


@dataclass
class Report:
    """A page in the making: a title, the facts it rests on (name -> value), a summary, then blocks."""

    title: str
    facts: Mapping[str, object] = field(default_factory=dict)
    summary: str = ""
    blocks: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def section(self, title: str, text: str = "") -> Report:
        """Open a section, also listed in the contents. Blank lines in `text` separate paragraphs."""
        self._add("section", title=title, anchor=f"section-{len(self.blocks)}")
        return self.text(text) if text else self

    def text(self, text: str) -> Report:
        """Add paragraphs, separated by blank lines."""
        return self._add("text", paragraphs=[part.strip() for part in text.split("\n\n") if part.strip()])

    def note(self, text: str, tone: Literal["info", "warning"] = "info") -> Report:
        """Add one remark that must not be overlooked."""
        return self._add("note", text=text, tone=tone)

    def tiles(self, tiles: Iterable[Tile]) -> Report:
        """Add a row of key figures."""
        return self._add("tiles", tiles=[(tile, show(tile.value)) for tile in tiles])

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[object]],
        caption: str = "",
        highlight: Collection[int] = (),
    ) -> Report:
        """Add a table; numbers are aligned to the right, rows whose index is in `highlight` stand out.

        Raises:
            DataError: a row has another length than the header.
        """
        cells = [[(show(cell), is_number(cell)) for cell in row] for row in rows]
        for number, row in enumerate(cells):
            if len(row) != len(header):
                raise DataError(
                    f"table {caption!r}: row {number} has {len(row)} cells, the header has {len(header)}"
                )
        numeric = [any(row[column][1] for row in cells) for column in range(len(header))]
        columns = list(zip(header, numeric, strict=True))
        return self._add("table", columns=columns, rows=cells, caption=caption, highlight=set(highlight))

    def figure(self, figure: Figure, caption: str = "") -> Report:
        """Add a matplotlib figure as an inline PNG; `new_figure` makes one without global state."""
        return self._add("image", uri=figure_uri(figure), caption=caption, plot=True)

    def photo(self, photo: np.ndarray, caption: str = "", max_side: int = 1280) -> Report:
        """Add a photo, (H, W, 3) uint8 RGB or (H, W) uint8 grey, as a JPEG of at most `max_side` px."""
        return self._add("image", uri=photo_uri(photo, max_side), caption=caption, plot=False)

    def gallery(self, photos: Iterable[tuple[np.ndarray, str]], max_side: int = 900) -> Report:
        """Add (photo, caption) pairs side by side where the page is wide enough."""
        return self._add(
            "gallery", images=[(photo_uri(photo, max_side), caption) for photo, caption in photos]
        )

    def render(self) -> str:
        """Return the page as HTML."""
        from jinja2 import Environment, StrictUndefined

        source = resources.files("stocktake").joinpath("templates/report.html").read_text("utf-8")
        environment = Environment(
            autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        return environment.from_string(source).render(
            title=self.title,
            summary=self.summary,
            facts=[(name, show(value)) for name, value in self.facts.items()],
            blocks=self.blocks,
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=metadata.version("stocktake"),
        )

    def write(self, path: Path) -> Path:
        """Write the page to `path`, making its folder if needed, and return it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.render(), "utf-8")
        return path

    def _add(self, kind: str, **content: Any) -> Report:
        self.blocks.append({"kind": kind, **content})
        return self


def is_number(value: object) -> bool:
    """Whether a cell holds a number, which True and False are not."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def show(value: object) -> str:
    """Write a value for people: grouped thousands, three decimals, yes and no, a dash for None and NaN."""
    if isinstance(value, float | np.floating):
        number = float(value)
        return "–" if math.isnan(number) else f"{number:.3f}" if abs(number) < 100 else f"{number:,.1f}"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return "–" if value is None else str(value)


def new_figure(
    width: float = 7.0, height: float = 3.6, columns: int = 1, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """Make a figure of `width` x `height` inches with plain axes, without pyplot's global state.

    On a dark page the lightness of plots is turned around, so colour maps should start at white, as
    "Blues" does.
    """
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.edgecolor": "#9aa4b2",
        "axes.labelcolor": "#475467",
        "axes.labelsize": 9,
        "axes.prop_cycle": cycler(color=PALETTE),
        "grid.color": "#e4e7ec",
        "grid.linewidth": 0.8,
        "xtick.color": "#667085",
        "ytick.color": "#667085",
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
    }
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def title_axes(axes: Axes, text: str) -> None:
    """Give axes of `new_figure` their title; matplotlib reads its style now, not when axes are made."""
    axes.set_title(text, loc="left", fontsize=10.5, fontweight="bold", color="#1d2939")


def figure_uri(figure: Figure) -> str:
    """Render a matplotlib figure with the Agg backend and return it as a `data:` URI of a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=FIGURE_DPI, facecolor="white")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def photo_uri(photo: np.ndarray, max_side: int = 1280) -> str:
    """Return a photo, uint8 RGB or grey, as a `data:` URI of a JPEG that is scaled down to `max_side` px.

    Raises:
        DataError: the array is not a photo.
    """
    return "data:image/jpeg;base64," + base64.b64encode(jpeg_bytes(photo, max_side)).decode("ascii")


def jpeg_bytes(photo: np.ndarray, max_side: int = 1280) -> bytes:
    """Encode a photo, uint8 RGB or grey, as a JPEG that is scaled down to `max_side` px.

    Raises:
        DataError: the array is not a photo.
    """
    if (
        photo.dtype != np.uint8
        or photo.ndim not in (2, 3)
        or photo.size == 0
        or photo.shape[2:] not in ((), (3,))
    ):
        raise DataError(f"expected a (H, W, 3) or (H, W) uint8 photo, got {photo.shape} {photo.dtype}")
    scale = max_side / max(photo.shape[:2])
    if scale < 1:
        size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(photo, JPEG_QUALITY)
