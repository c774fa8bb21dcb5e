"""The gate: whether the challenger of the registry becomes its champion, by figures of the same photos."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stocktake import tracking
from stocktake.code_version import code_version
from stocktake.dataset import DatasetIndex
from stocktake.errors import ModelError
from stocktake.gate import (
    Comparison,
    Criterion,
    compare_with_baseline,
    compare_with_champion,
    criteria_of,
)
from stocktake.markdown import card
from stocktake.model_versions import (
    ModelVersion,
    find_alias,
    record_metrics,
    recorded_metrics,
    set_alias,
    set_tags,
)
from stocktake.registry import (
    CHALLENGER,
    CHAMPION,
    SHELF_MODEL,
    fetch_model,
    photos_of,
    resolve,
    run_for,
)

DECIDING_SPLIT = "test"
NO_JUDGES = (
    "it was scored on {split} photos, but models learn from train photos and their thresholds are chosen on "
    "val photos; evaluate it on test photos"
)

Evaluate = Callable[[Path], Mapping[str, float]]  # model dir -> metrics


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate did and why; `champion` is the version that was compared with, None for a first one."""

    promoted: bool
    reason: str
    challenger: ModelVersion
    champion: ModelVersion | None
    comparison: Comparison | None  # None where nothing was compared

    def markdown(self) -> str:
        """A card for pipeline UIs: the decision, its reason and the figures."""
        title = f"{self.challenger.name}: {'promoted' if self.promoted else 'not promoted'}"
        facts = {"version": self.challenger.uri, "files": self.challenger.model_uri}
        return card(title, self.reason, facts, self.comparison.table() if self.comparison else ())


def gate(
    index: DatasetIndex,
    name: str = SHELF_MODEL,
    split: str = "test",
    criteria: Sequence[Criterion] | None = None,
    evaluate: Evaluate | None = None,
) -> GateDecision:
    """Compare challenger and champion on the same photos, and promote the challenger where it earns it.

    A first model has to beat the baseline of its own evaluation. Only test photos promote: models learn from
    train photos, and their thresholds are chosen on val photos. The decision and its reason become tags of
    the challenger; the alias moves only on promotion, so a gate that is run again decides the same.

    Args:
        index: the photos to compare on.
        name: the registered model.
        split: the part of `index` to compare on.
        criteria: what counts, and by how much it may be worse; those of its task when None.
        evaluate: measures a model dir on that split; called for a version without figures that this code
            made of these photos, since other code may measure otherwise.

    Raises:
        ModelError: there is no challenger, a figure is missing, or a version was only ever evaluated on other
            photos or by other code and there is no `evaluate`.
    """
    challenger = resolve(f"models:/{name}@{CHALLENGER}")
    reigning = find_alias(name, CHAMPION)
    if reigning == challenger:
        reason = f"version {challenger.version} is the champion already"
        return GateDecision(True, reason, challenger, reigning, None)
    photos = photos_of(index, split)
    if split != DECIDING_SPLIT:
        reason = f"version {challenger.version} not promoted: {NO_JUDGES.format(split=split)}"
        set_tags(challenger, {"gate": "refused", "gate.reason": reason})
        return GateDecision(False, reason, challenger, reigning, None)
    with run_for("gate", challenger.task):
        figures = _metrics_on(photos, challenger, evaluate)
        criteria = criteria or criteria_of(challenger.task, figures)
        if reigning:
            champion_figures = _metrics_on(photos, reigning, evaluate)
            comparison = compare_with_champion(figures, champion_figures, criteria)
        else:
            comparison = compare_with_baseline(figures, criteria)
        reason = _sentence(challenger, reigning, comparison, photos)
        set_tags(challenger, {"gate": "promoted" if comparison.passed else "refused", "gate.reason": reason})
        if comparison.passed:
            set_alias(challenger, CHAMPION)
        tracking.log_table(comparison.table(), "gate.json")
        tracking.set_tags({"gate.reason": reason})
    return GateDecision(comparison.passed, reason, challenger, reigning, comparison)


def _sentence(
    challenger: ModelVersion, reigning: ModelVersion | None, comparison: Comparison, photos: DatasetIndex
) -> str:
    verdict = "promoted" if comparison.passed else "not promoted"
    against = f"version {reigning.version}" if reigning else "the baseline"
    return (
        f"version {challenger.version} {verdict} against {against} on {len(photos.photos)} photos of "
        f"{tracking.dataset_name(photos)}: {comparison.reason}"
    )


def _metrics_on(
    photos: DatasetIndex, version: ModelVersion, evaluate: Evaluate | None
) -> Mapping[str, float]:
    recorded = recorded_metrics(version, photos, code_version())
    if recorded:
        return recorded
    if evaluate is None:
        raise ModelError(
            f"{version.uri} has no figures of {tracking.dataset_name(photos)} (digest {photos.digest[:12]}) "
            "that this code made; evaluate it on these photos first"
        )
    with tempfile.TemporaryDirectory(prefix="stocktake-model-") as folder:
        fetch_model(version.uri, Path(folder))
        # A run of its own, or these figures would pass for those of the run that is open.
        with tracking.start_run(f"evaluate {version.name} {version.version}") as run_id:
            metrics = evaluate(Path(folder))
            record_metrics(version, metrics, photos, run_id, code_version())
    return metrics
