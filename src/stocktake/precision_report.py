"""What an evaluation says of the precisions of a model, the same for shelves and bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stocktake.markdown import table
from stocktake.model_card import PrecisionVerdict
from stocktake.precision_gate import LARGEST_LOSS, REFERENCE, Verdicts
from stocktake.report import Report
from stocktake.runner import Precision

ABOUT = f"""
What the model loses where it is not computed in fp32. A precision may be served if none of its scores was
more than {LARGEST_LOSS:g} below that of fp32 on the photos that the thresholds were chosen on.
"""


@dataclass(frozen=True, slots=True)
class PrecisionScores:
    """`here`: each allowed precision on the photos of this evaluation; `gate`: the verdicts of the card."""

    here: Verdicts = field(default_factory=dict)
    gate: Verdicts = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """Scores beside those of fp32 by flat name, such as 'int8/ap50'."""
        return {
            f"{precision}/{name}": value
            for precision, verdict in self.here.items()
            if precision != REFERENCE
            for name, value in verdict.scores.items()
        }

    def warnings(self) -> list[str]:
        """A sentence for each allowed precision that loses too much on these photos, or was not scored."""
        return [
            f"{precision} may be served, but{' too much is lost here:' if verdict.scores else ' was'} "
            f"{verdict.reason}"
            for precision, verdict in self.here.items()
            if not verdict.allowed
        ]

    def add_to(self, report: Report, data: str) -> None:
        """Add a section to the report of an evaluation; `data` says on which photos it was."""
        report.section("Precisions", ABOUT)
        for warning in self.warnings():
            report.note(warning, "warning")
        for verdicts, caption in ((self.here, f"{data}."), (self.gate, "What the model card says.")):
            if rows := verdict_rows(verdicts):
                report.table(list(rows[0]), [list(row.values()) for row in rows], caption)

    def markdown(self) -> list[str]:
        """The same as blocks of markdown."""
        tables = [table(rows) for verdicts in (self.here, self.gate) if (rows := verdict_rows(verdicts))]
        return [*(f"**{warning}**" for warning in self.warnings()), *tables]


def verdict_rows(verdicts: Mapping[Precision, PrecisionVerdict]) -> list[dict[str, object]]:
    """A row for each precision: its scores, on how many photos, whether it is allowed, and why."""
    names = dict.fromkeys(name for verdict in verdicts.values() for name in verdict.scores)
    return [
        {
            "precision": precision,
            **{name: verdict.scores.get(name) for name in names},
            "photos": verdict.photos or None,
            "allowed": "yes" if verdict.allowed else "no",
            "why": verdict.reason,
        }
        for precision, verdict in verdicts.items()
    ]
