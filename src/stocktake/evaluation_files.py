"""What every evaluation leaves behind: metrics.json, facts.json, report.html, summary.md and photos/."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocktake import tracking
from stocktake.code_version import code_version
from stocktake.dataset import SPLITS, DatasetIndex, Photo
from stocktake.errors import DataError
from stocktake.files import atomic_path, explain_os_error
from stocktake.images import Pixels
from stocktake.report import jpeg_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS_FILE, FACTS_FILE = "metrics.json", "facts.json"
SEEN_BEFORE = {
    "train": "Models learn from the training split: these figures say how well it is remembered.",
    "val": "Thresholds were chosen on these photos: the figures are a little too good.",
}


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """`metrics` by flat name ('detector/ap50'), `facts` on what they rest on, and the files written."""

    metrics: dict[str, float]
    facts: dict[str, object]
    report: Path  # report.html
    summary: Path  # summary.md


def photos_to_score(index: DatasetIndex, split: str, index_path: Path) -> list[Photo]:
    """The photos of the split by name: some scores depend on the order where predictions tie.

    Raises:
        DataError: there is none.
    """
    photos = sorted(index.split(split), key=lambda photo: photo.name)
    if not photos:
        counts = ", ".join(f"{name} {len(index.split(name))}" for name in SPLITS)
        raise DataError(f"{index_path}: no photo in split {split} ({counts}); evaluate another split")
    return photos


def describe_exclusions(index: DatasetIndex) -> str:
    """What the ingest was told to leave out, and how many photos it did, by reason."""
    about = index.metadata
    rule = about.get("exclude") or about.get("selection") or "none"
    if "left_out" not in about:  # an index that no ingest of ours has made, or an older one
        return f"{rule}, not known how many were left out"
    counts = {
        reason: names if isinstance(names, int) else len(names) for reason, names in about["left_out"].items()
    }
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in counts.items())
    return f"{rule}, {sum(counts.values()):,} left out" + (f" ({reasons})" if reasons else "")


def common_facts(
    index: DatasetIndex, split: str, photos: Sequence[Photo], name: str, digests: Mapping[str, str], ours: str
) -> dict[str, object]:
    """Which model was scored, by which code, on which photos: how the facts of every evaluation begin.

    Args:
        index: where the photos are from.
        split: the one that was scored.
        photos: those that were scored.
        name: of the model under evaluation, as its card has it.
        digests: SHA-256 of each model dir that was scored, by what the tables call it.
        ours: what the tables call the model under evaluation.
    """
    caveat = SEEN_BEFORE.get(split)
    return {
        "Model": name,
        "Model digest": digests[ours][:12],
        **{f"Digest of {who}": digest[:12] for who, digest in digests.items() if who != ours},
        "Code": code_version(),
        "Data": str(index.metadata.get("name") or "unnamed data"),
        "Data digest": index.digest[:12],
        "Split": split,
        **({"Caveat": caveat} if caveat else {}),
        "Photos": len(photos),
    }


def make_folder(out_dir: Path) -> None:
    """Make the folder of an evaluation, before the work and not after it.

    Raises:
        DataError: it can't be made.
    """
    try:
        (out_dir / "photos").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(explain_os_error(error, out_dir)) from error


def write_evaluation(
    out_dir: Path,
    metrics: dict[str, float],
    facts: dict[str, object],
    report: str,
    summary: str,
    photos: Mapping[str, Pixels],
) -> EvaluationResult:
    """Write all files of an evaluation; those of an older one in `out_dir` are replaced.

    Args:
        out_dir: see `make_folder`.
        metrics: finite floats by flat name.
        facts: on what data, how many, which exclusions, which settings.
        report: HTML page.
        summary: markdown.
        photos: uint8 RGB by file stem, for photos/.

    Raises:
        DataError: the folder can't be written to.
    """
    files = {
        METRICS_FILE: json.dumps(metrics, indent=2) + "\n",
        FACTS_FILE: json.dumps(facts, indent=2) + "\n",
        "report.html": report,
        "summary.md": summary,
    }
    try:
        for name, text in files.items():
            with atomic_path(out_dir / name) as part:
                part.write_text(text, "utf-8")
        for name, photo in photos.items():
            with atomic_path(out_dir / "photos" / f"{name}.jpg") as part:
                part.write_bytes(jpeg_bytes(photo))
    except OSError as error:
        raise DataError(explain_os_error(error, out_dir)) from error
    return EvaluationResult(metrics, facts, out_dir / "report.html", out_dir / "summary.md")


def read_evaluation(out_dir: Path, split: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and facts of an evaluation of one split.

    Raises:
        DataError: there is none, it is broken, or it is of another split.
    """
    metrics, facts = (_read_object(out_dir / name) for name in (METRICS_FILE, FACTS_FILE))
    if not all(isinstance(value, int | float) for value in metrics.values()):
        raise DataError(f"{out_dir / METRICS_FILE}: not all of its values are numbers; evaluate again")
    if facts.get("Split") != split:
        raise DataError(f"{out_dir}: scored on {facts.get('Split')} photos, not on {split} photos")
    return metrics, facts


def track_evaluation(
    index: DatasetIndex,
    split: str,
    result: EvaluationResult,
    tables: Mapping[str, Sequence[Mapping[str, object]]],
    figures: Mapping[str, Figure],
    photos: Mapping[str, Pixels],
) -> None:
    """Show an evaluation in the open MLflow run, if there is one: tables/, plots/ and photos/ by name."""
    if tracking.current_run() is None:
        return
    tracking.log_dataset(index, split)
    tracking.log_metrics(result.metrics)
    for name, rows in tables.items():
        tracking.log_table(rows, f"tables/{name}.json")
    for name, figure in figures.items():
        tracking.log_figure(figure, f"plots/{name}.png")
    for name, photo in photos.items():
        tracking.log_image(photo, f"photos/{name}.png")
    tracking.log_html(result.report.read_text("utf-8"), "report.html")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(explain_os_error(error, path)) from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); evaluate again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object, found {found!r:.40}; evaluate again")
    return found
