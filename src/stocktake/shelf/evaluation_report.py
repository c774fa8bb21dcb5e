"""An evaluation for people: the HTML report, and the short markdown that pipeline UIs show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from stocktake.evaluation_files import SEEN_BEFORE
from stocktake.markdown import table
from stocktake.report import Report, Tile, show
from stocktake.shelf import plots
from stocktake.shelf.average_precision import DetectionScores
from stocktake.shelf.evaluation_scores import Scores
from stocktake.shelf.examples import Example
from stocktake.shelf.void_trials import HOLD_OUT, MISSING, OURS, PIXELS, SCENES, SLIDING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    OURS: "this model",
    SLIDING: "sliding-box heuristic",
    "before": "before training",
    "champion": "champion",
    "constant": "constant boxes",
}
HOW_TO_READ = """
A void counts as found when it overlaps a known one with IoU .3 (or .5) or more, one to one; low stock (front
row empty, back row full) counts neither way. Facing recall is the share of missing facings that found voids
cover, however they are merged or split. Facing error is the mean absolute error of the number of missing
facings.

"True boxes" gives the method the annotated boxes: what a perfect detector would leave to be found.
"Hold-out" takes products out of the annotations and asks whether they are missed, by geometry alone; what was
found before anything was taken out counts neither way. "Tilted" turns the photo by 15 degrees to either side.
"10% of boxes missing" takes boxes away while the pixels stay: every void that this adds is a false one.
"""

FEEDBACK = (
    "Voids that people judged, on photos of shops. Precision of those that are shown, recall of real ones, "
    "both among the judged: what nobody was shown, nobody has judged."
)


def detector_rows(scores: Scores) -> list[dict[str, object]]:
    """One row per detector: AP, AP50, AP75 and AR300."""
    return [
        {"detector": NAMES[who], **{name.upper(): value for name, value in detector.metrics().items()}}
        for who, detector in scores.detectors.items()
    ]


def void_rows(scores: Scores) -> list[dict[str, object]]:
    """One row per scene and method; the scene with missing boxes has its own, `missing_rows`."""
    return [
        {
            "scene": SCENES[scene],
            "method": NAMES[who],
            "precision": score.iou30.precision,
            "recall": score.iou30.recall,
            "F1": score.iou30.f1,
            "F1 @ .5": score.iou50.f1,
            "facing recall": score.iou30.facing_recall,
            "facing error": score.iou30.facing_error,
            "false / photo": score.iou30.false_per_photo,
            "known": score.iou30.known,
        }
        for scene, methods in scores.scenes.items()
        if scene != MISSING
        for who, score in methods.items()
    ]


def missing_rows(scores: Scores) -> list[dict[str, object]]:
    """One row per method: voids that appear because a tenth of the boxes is missing."""
    return [
        {
            "method": NAMES[who],
            "new false voids / photo": score.iou30.false_per_photo,
            "photos": score.iou30.photos,
        }
        for who, score in scores.scenes.get(MISSING, {}).items()
    ]


def figures(scores: Scores) -> dict[str, Figure]:
    """The plots by name; without known voids there are fewer."""
    drawn = {"detection": plots.detection_figure(_display_names(scores.detectors), scores.score_threshold)}
    with_truth = {scene: methods for scene, methods in scores.scenes.items() if scene != MISSING}
    if with_truth:
        ours, sliding = ([m[who].iou30.f1 for m in with_truth.values()] for who in (OURS, SLIDING))
        drawn["scenes"] = plots.scene_figure([SCENES[scene] for scene in with_truth], ours, sliding)
    if scores.calibration is not None:
        point = scores.scenes[PIXELS][SLIDING].iou30
        drawn["voids"] = plots.void_figure(
            scores.calibration.curve, (point.recall, point.precision), scores.min_confidence
        )
        drawn["calibration"] = plots.calibration_figure(scores.calibration.confidence, scores.calibration.hit)
    return drawn


def build_report(
    title: str,
    facts: Mapping[str, object],
    scores: Scores,
    examples: Sequence[Example],
) -> Report:
    """Put figures, tables, plots and photos on one page; `facts` say on what data and with which settings."""
    drawn = figures(scores)
    data = f"{facts['Data']}, {facts['Split']} split, {show(facts['Photos'])} photos"
    report = Report(title, facts, summarise(scores)).tiles(_tiles(scores))
    if facts["Split"] in SEEN_BEFORE:
        report.note(SEEN_BEFORE[str(facts["Split"])], "warning")
    report.section("Products", "How well single products are found.")
    _add_table(report, detector_rows(scores), f"{data}. COCO rules, {facts['AP protocol']}.", {0})
    report.figure(
        drawn["detection"], f"{data}. The dashed line is the score that products are reported from."
    )
    report.section(
        "Voids", "Where products are missing, next to the sliding-box heuristic that this project grew from."
    )
    rows = void_rows(scores)
    ours = {number for number, row in enumerate(rows) if row["method"] == NAMES[OURS]}
    _add_table(report, rows, f"{data}. Precision, recall, F1 and the rest at IoU .3 unless .5 is said.", ours)
    captions = {
        "scenes": f"{data}. F1 of both methods in every scene.",
        "voids": f"{data}. From pixels. The dashed line is the confidence that voids are reported from.",
        "calibration": f"{data}. From pixels. A confidence of .7 should be right seven times in ten.",
    }
    for name, caption in captions.items():
        if name in drawn:
            report.figure(drawn[name], caption)
    report.section("When the detector misses products", "A missed product must not become an alarm.")
    _add_table(
        report, missing_rows(scores), f"{data}. True boxes with a tenth missing, pixels unchanged.", {0}
    )
    if scores.recalibration:
        report.section("Feedback", scores.recalibration.describe())
        _add_table(report, scores.recalibration.rows(), FEEDBACK, {1})
    scores.precisions.add_to(report, data)
    if examples:
        report.section(
            "Photos",
            "Found products are outlined in green, found voids are red, known voids have a blue frame.",
        )
        report.gallery([(example.photo, example.caption) for example in examples])
    return report.section("How to read this", HOW_TO_READ)


def build_summary(title: str, facts: Mapping[str, object], scores: Scores) -> str:
    """The essentials as markdown: a sentence, the two tables, the facts."""
    parts = [f"# {title}", summarise(scores)]
    parts += [
        table(rows) for rows in (detector_rows(scores), void_rows(scores), missing_rows(scores)) if rows
    ]
    if scores.recalibration and scores.recalibration.rows():
        parts += [table(scores.recalibration.rows())]
    parts += scores.precisions.markdown()
    parts += ["\n".join(f"- {name}: {show(value)}" for name, value in facts.items())]
    return "\n\n".join(parts) + "\n"


def summarise(scores: Scores) -> str:
    """The result in one sentence."""
    ours = scores.detectors[OURS]
    sentence = f"AP50 {ours.ap50:.3f} on {ours.photos:,} photos with {ours.products:,} products"
    scene = next((scene for scene in (PIXELS, *SCENES) if scene in scores.scenes and scene != MISSING), None)
    if scene is not None:
        methods = scores.scenes[scene]
        where = {PIXELS: "from pixels", HOLD_OUT: "by hold-out"}.get(scene, SCENES[scene].lower())
        mine, sliding = (methods[who].iou30.f1 for who in (OURS, SLIDING))
        sentence += f"; void F1 {mine:.3f} {where}, the sliding-box heuristic {sliding:.3f}"
    return sentence + "."


def _tiles(scores: Scores) -> list[Tile]:
    ours, others = scores.detectors[OURS], [who for who in scores.detectors if who != OURS]
    remark = ", ".join(f"{NAMES[who]} {scores.detectors[who].ap50:.3f}" for who in others)
    tiles = [Tile("AP50", ours.ap50, remark), Tile("AP", ours.ap, "IoU .50:.05:.95, 300 boxes")]
    for scene, label in ((PIXELS, "Void F1 from pixels"), (HOLD_OUT, "Void F1, hold-out")):
        if scene in scores.scenes:
            mine, sliding = (scores.scenes[scene][who].iou30 for who in (OURS, SLIDING))
            tone: Literal["good", "bad"] = "good" if mine.f1 > sliding.f1 else "bad"
            tiles.append(Tile(label, mine.f1, f"sliding-box heuristic {sliding.f1:.3f}", tone))
    for scene, label in ((PIXELS, "False voids per photo"), (MISSING, "New false voids, 10% missed")):
        if scene in scores.scenes:
            mine, sliding = (scores.scenes[scene][who].iou30 for who in (OURS, SLIDING))
            remark = f"sliding-box heuristic {sliding.false_per_photo:.3f}"
            tiles.append(Tile(label, mine.false_per_photo, remark))
    return tiles


def _display_names(by_who: Mapping[str, DetectionScores]) -> dict[str, DetectionScores]:
    return {NAMES[who]: scores for who, scores in by_who.items()}


def _add_table(
    report: Report, rows: Sequence[Mapping[str, object]], caption: str, highlight: set[int]
) -> None:
    if rows:
        report.table(list(rows[0]), [list(row.values()) for row in rows], caption, highlight)
