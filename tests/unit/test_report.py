import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.text import Text

from stocktake.errors import DataError
from stocktake.report import Report, Tile, new_figure, photo_uri, show, title_axes


class Page(HTMLParser):
    """Collects tags with attributes, checks nesting, and keeps the visible text."""

    VOID_TAGS = frozenset({"meta", "img"})

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "title"}:
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def full_report() -> Report:
    figure, (axes,) = new_figure()
    axes.plot([0, 1], [0, 1])
    photo = np.full((60, 90, 3), 200, np.uint8)
    report = Report("Title", {"Photos": 12_345}, "In short.")
    report.section("One", "First.\n\nSecond.").tiles([Tile("AP50", 0.5, "before .3", "good")])
    report.section("Two").table(["model", "AP"], [["ours", 0.5], ["seed", None]], "Caption", highlight=[0])
    report.section("Three").figure(figure, "A plot").photo(photo, "A photo")
    return report.gallery([(photo, "left"), (photo, "right")]).note("Mind this.", "warning")


def test_page_is_well_formed_and_complete():
    page = Page(full_report().render())
    for text in (
        "Title",
        "In short.",
        "12,345",
        "First.",
        "Second.",
        "0.500",
        "A plot",
        "left",
        "Mind this.",
    ):
        assert text in page.text
    anchors = {attrs["id"] for attrs in page.attributes("h2")}
    assert [a["href"] for a in page.attributes("a")] == [f"#{anchor}" for anchor in sorted(anchors)]
    assert len(page.attributes("img")) == 4
    assert all(image["alt"] for image in page.attributes("img"))


def test_page_needs_nothing_from_outside():
    html = full_report().render()
    page = Page(html)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert all(image["src"].startswith("data:image/") for image in page.attributes("img"))
    assert not re.search(r"https?:|url\(|@import", re.sub(r"data:image/[^\"]+", "", html))


@pytest.mark.parametrize(
    "build",
    [
        lambda evil: Report(evil),
        lambda evil: Report("t", {evil: evil}, evil),
        lambda evil: Report("t").section(evil, evil),
        lambda evil: Report("t").note(evil),
        lambda evil: Report("t").tiles([Tile(evil, evil, evil)]),
        lambda evil: Report("t").table([evil], [[evil]], evil),
        lambda evil: Report("t").photo(np.zeros((4, 4), np.uint8), evil),
        lambda evil: Report("t").gallery([(np.zeros((4, 4), np.uint8), evil)]),
    ],
)
def test_text_is_never_taken_for_html(build):
    html = build('"><script>alert(1)</script>').render()
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_tables_align_numbers_and_mark_rows():
    page = Page(Report("t").table(["a", "b"], [["x", 1], ["y", None]], highlight=[1]).render())
    rows = page.attributes("tr")
    assert [row.get("class") for row in rows] == [None, None, "mark"]
    assert [cell.get("class") for cell in page.attributes("td")] == ["number", "number"]
    assert [cell.get("class") for cell in page.attributes("th")] == [None, "number", None, None]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(DataError, match="'sizes': row 1 has 1 cells, the header has 2"):
        Report("t").table(["a", "b"], [[1, 2], [3]], "sizes")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (np.int64(5), "5"),
        (0.12345, "0.123"),
        (np.float32(0.5), "0.500"),
        (1234.56, "1,234.6"),
        (float("nan"), "–"),
        (None, "–"),
        (True, "yes"),
        (False, "no"),
        ("AP50", "AP50"),
    ],
)
def test_values_are_written_for_people(value: object, text: str):
    assert show(value) == text


def test_photos_are_scaled_down_and_keep_their_colours():
    photo = np.zeros((400, 1000, 3), np.uint8)
    photo[..., 0] = 250  # red
    kind, _, data = photo_uri(photo, max_side=200).partition(",")
    assert kind == "data:image/jpeg;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded.shape == (80, 200, 3)
    assert np.abs(decoded.mean((0, 1)) - [250, 0, 0]).max() < 4


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4, 4), (4,)])
def test_what_is_not_a_photo_is_refused(shape: tuple[int, ...]):
    with pytest.raises(DataError, match="expected a"):
        photo_uri(np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match="float64"):
        photo_uri(np.zeros((4, 4, 3)))


def test_figures_leave_pyplot_alone():
    from matplotlib import pyplot

    full_report()
    assert pyplot.get_fignums() == []


def test_write_makes_the_folder(tmp_path: Path):
    path = full_report().write(tmp_path / "deep" / "report.html")
    assert path.read_text("utf-8").startswith("<!doctype html>")


def test_titles_of_plots_stand_left_and_bold():
    _, (axes,) = new_figure()
    title_axes(axes, "Sizes")
    assert axes.get_title(loc="left") == "Sizes"
    assert axes.get_title() == ""
    [title] = [text for text in axes.findobj(Text) if text.get_text() == "Sizes"]
    assert title.get_fontweight() == "bold"
