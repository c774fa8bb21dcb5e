"""An evaluation of bins for people: the HTML report, and the short markdown that pipeline UIs show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stocktake.bins import plots
from stocktake.bins.evaluation_scores import OURS, Scores
from stocktake.bins.examples import Example
from stocktake.bins.verification import ERROR_RATE
from stocktake.evaluation_files import SEEN_BEFORE
from stocktake.markdown import table
from stocktake.plots import reliability_figure
from stocktake.report import Report, Tile, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    OURS: "this model",
    "before": "before training",
    "champion": "champion",
    "constant": "always the middle count",
    "prior": "always the most frequent count",
    "blobs": "connected components",
}
HOW_TO_READ = f"""
The count is the most probable one, which is right most often. The errors that the rounded mean or the median
of the probabilities would have stand beside it. Intervals are of 95 %, from a bootstrap over groups of photos
that show the same bin; "ahead" is how much more often this model is right than that counter, on the same
photos.

ECE, the expected calibration error, is the mean gap between how sure the model is and how often it is right
(Guo et al., 2017), in 15 bins. NLL is the mean negative log-likelihood of the true count, in nats.

A record is accepted where the photo speaks for it, rejected where it speaks against it, and put to a person
otherwise. Wrong accepts are the share of wrong records that are accepted, wrong rejects the share of right
ones that are rejected; so neither depends on how many records are wrong. Half of the wrong records are off by
one, half are any other count. "Count = record" accepts where the most probable count is the record. It is
compared at {ERROR_RATE:.0%} wrong accepts, where it has to be sure enough, too, and at its own rate.
"""


def counter_rows(scores: Scores) -> list[dict[str, object]]:
    """One row per counter, with intervals."""
    return [
        {
            "counter": NAMES[who],
            "accuracy": str(some.accuracy),
            "RMSE": str(some.rmse),
            "MAE": str(some.mae),
            "within one": str(some.within_one),
            "ahead": None if who == OURS else str(some.gain),
        }
        for who, some in scores.counters.items()
    ]


def probability_rows(scores: Scores) -> list[dict[str, object]]:
    """One row per counter that gives probabilities."""
    return [
        {
            "counter": NAMES[who],
            "NLL": some.nll,
            "ECE": some.calibration.ece,
            "RMSE by the mean": some.rmse_of_mean,
            "MAE by the median": some.mae_of_median,
        }
        for who, some in scores.probabilities.items()
    ]


def rule_rows(scores: Scores) -> list[dict[str, object]]:
    """Right records accepted by each rule, at the same share of wrong ones."""
    ours = scores.probabilities[OURS]
    plain = float(ours.argmax.wrong[-1])
    return [
        {
            "wrong accepts": error,
            "right accepted by support": ours.curve.right_at(error),
            "right accepted by count = record": ours.argmax.right_at(error),
        }
        for error in (ERROR_RATE, plain)
    ]


def verdict_rows(scores: Scores) -> list[dict[str, object]]:
    """What happens to right and to wrong records at the card's thresholds."""
    return [
        {"records": name, **{verdict: str(share) for verdict, share in shares.items()}}
        for name, shares in (("right", scores.verdicts.right), ("wrong", scores.verdicts.wrong))
    ]


def figures(scores: Scores) -> dict[str, Figure]:
    """The plots by name."""
    ours = scores.probabilities[OURS]
    served = (scores.verdicts.wrong["accept"].value, scores.verdicts.right["accept"].value)
    classes = [int(row["count"]) for row in scores.classes]
    return {
        "confusion": plots.confusion_figure(scores.confusion, classes),
        "calibration": reliability_figure(ours.calibration, "How often the most probable count is right"),
        "verification": plots.verification_figure(ours, ERROR_RATE, served),
    }


def build_report(
    title: str, facts: Mapping[str, object], scores: Scores, examples: Sequence[Example]
) -> Report:
    """Put figures, tables, plots and photos on one page; `facts` say on what data and with which settings."""
    drawn = figures(scores)
    data = f"{facts['Data']}, {facts['Split']} split, {show(facts['Photos'])} photos"
    report = Report(title, facts, summarise(scores)).tiles(_tiles(scores))
    if facts["Split"] in SEEN_BEFORE:
        report.note(SEEN_BEFORE[str(facts["Split"])], "warning")
    report.section("Counting", "How often the count is right, and how far off it is.")
    _add_table(report, counter_rows(scores), data, {0})
    _add_table(report, scores.classes, f"{data}. By true count.")
    report.figure(drawn["confusion"], f"{data}. Share of each row, and photos.")
    report.section("Probabilities", "Whether the model knows how sure it can be.")
    _add_table(report, probability_rows(scores), data, {0})
    report.figure(drawn["calibration"], f"{data}. A confidence of .7 should be right seven times in ten.")
    _add_table(report, scores.probabilities[OURS].calibration.rows(), f"{data}. The bins of the ECE.")
    report.section("Verification", "Whether a recorded quantity can be right.")
    _add_table(report, verdict_rows(scores), f"{data}. At the thresholds of the model card.")
    _add_table(report, rule_rows(scores), f"{data}. At the same error as count = record.")
    report.figure(drawn["verification"], data)
    scores.precisions.add_to(report, data)
    if examples:
        report.section("Photos", "The largest errors, then the photos that the model is least sure of.")
        report.gallery([(example.photo, example.caption) for example in examples])
    return report.section("How to read this", HOW_TO_READ)


def build_summary(title: str, facts: Mapping[str, object], scores: Scores) -> str:
    """The essentials as markdown: a sentence, the tables, the facts."""
    tables = (counter_rows, probability_rows, verdict_rows, rule_rows)
    parts = [f"# {title}", summarise(scores), *(table(rows(scores)) for rows in tables)]
    parts += scores.precisions.markdown()
    parts += ["\n".join(f"- {name}: {show(value)}" for name, value in facts.items())]
    return "\n\n".join(parts) + "\n"


def summarise(scores: Scores) -> str:
    """The result in one sentence."""
    ours, verdicts = scores.counters[OURS], scores.verdicts
    return (
        f"Accuracy {ours.accuracy}, RMSE {ours.rmse.value:.3f} on {scores.photos:,} photos of "
        f"{scores.groups:,} groups; {verdicts.right['accept'].value:.0%} of right records are accepted with "
        f"{verdicts.wrong['accept'].value:.1%} of wrong ones."
    )


def _tiles(scores: Scores) -> list[Tile]:
    ours, probabilities = scores.counters[OURS], scores.probabilities[OURS]
    rest = {who: some for who, some in scores.counters.items() if who != OURS}
    accuracies = ", ".join(f"{NAMES[who]} {some.accuracy.value:.3f}" for who, some in rest.items())
    errors = ", ".join(f"{NAMES[who]} {some.rmse.value:.3f}" for who, some in rest.items())
    accepted, asked = scores.verdicts.right["accept"], scores.verdicts.right["ask"]
    return [
        Tile("Accuracy", ours.accuracy.value, accuracies),
        Tile("RMSE", ours.rmse.value, errors),
        Tile("Within one", ours.within_one.value, f"MAE {ours.mae.value:.3f}"),
        Tile("ECE", probabilities.calibration.ece, f"NLL {probabilities.nll:.3f}"),
        Tile("Right records accepted", accepted.value, f"a person is asked for {asked.value:.0%}"),
        Tile("Wrong records accepted", scores.verdicts.wrong["accept"].value, f"chosen for {ERROR_RATE:.0%}"),
    ]


def _add_table(
    report: Report, rows: Sequence[Mapping[str, object]], caption: str, highlight: set[int] | None = None
) -> None:
    report.table(list(rows[0]), [list(row.values()) for row in rows], caption, highlight or set())
