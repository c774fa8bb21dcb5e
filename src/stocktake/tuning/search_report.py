"""What a search has found, as a page and in MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocktake import tracking
from stocktake.dataset import DatasetIndex
from stocktake.markdown import card
from stocktake.report import Report, Tile
from stocktake.tuning.plots import history_figure, importance_figure, parallel_figure
from stocktake.tuning.search_space import Choices, SearchSpace
from stocktake.tuning.study import TrialRow, TrialStudy

if TYPE_CHECKING:
    from stocktake.tuning.optuna_search import SearchResult

REPORT_FILE = "report.html"
FOLDER = "search"  # in the run of MLflow


def publish(
    study: TrialStudy,
    space: SearchSpace,
    index: DatasetIndex,
    name: str,
    out_dir: Path,
    refit: dict[str, float],
) -> Path:
    """Write `out_dir`/report.html and log it to the open run, with the table of trials and each plot.

    Args:
        study: with at least one complete trial.
        space: what was searched.
        index: the photos.
        name: of the study.
        out_dir: of the search.
        refit: figures of the final training, empty where there was none.
    """
    rows, best = study.rows(), study.best
    assert best is not None
    figures = {"history": history_figure(rows, space), "parallel": parallel_figure(rows, space)}
    importances = study.importances()
    if importances:
        figures["importance"] = importance_figure(importances)
    report = Report(f"Search {name}", _facts(space, index), _summary(best, space))
    report.tiles(_tiles(rows, best, space, refit))
    report.section("Trials").figure(figures["history"], "Value of each trial, and of its epochs.")
    table = trial_rows(rows, space)
    highlighted = [place for place, row in enumerate(rows) if row.number == best.number]
    cells = [list(readable(row).values()) for row in table]
    report.table(list(table[0]), cells, "The best trial stands out.", highlight=highlighted)
    report.section("Parameters")
    if "importance" in figures:
        report.figure(figures["importance"], "Shares of the variance among complete trials.")
    report.figure(figures["parallel"], "One line per complete trial; the best stands out.")
    path = report.write(out_dir / REPORT_FILE)
    for title, figure in figures.items():
        tracking.log_figure(figure, f"{FOLDER}/{title}.png")
    tracking.log_table(table, f"{FOLDER}/trials.json")
    tracking.log_artifacts(path, FOLDER)
    # tags, for a search that is continued may find a better one, and MLflow's parameters can't be changed
    chosen = {f"best.{name}": str(value) for name, value in best.parameters.items()}
    tracking.set_tags({**chosen, "best_trial": str(best.number), "best_run": best.run_id})
    return path


def trial_rows(rows: list[TrialRow], space: SearchSpace) -> list[dict[str, Any]]:
    """The trials as rows of a table."""
    return [
        {
            "trial": row.number,
            "state": row.state,
            space.metric: row.value,
            **{name: row.parameters.get(name) for name in space.parameters},
            "epochs done": max(row.curve, default=0),
            "seconds": row.seconds,
            "remark": row.reason or _continued(row),
        }
        for row in rows
    ]


def trials_card(result: "SearchResult", space: SearchSpace) -> str:
    """The best trial and the table of all, in markdown."""
    rows = [readable(row) for row in trial_rows(result.rows, space)]
    return card(f"Search: {len(rows)} trials", _summary(result.best, space), rows=rows)


def readable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for people: three digits of each number, so that a learning rate of 0.00123 keeps its own."""
    return {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in row.items()}


def _continued(row: TrialRow) -> str:
    return f"continues {', '.join(map(str, row.continues))}" if row.continues else ""


def _facts(space: SearchSpace, index: DatasetIndex) -> dict[str, object]:
    return {
        "Photos": index.metadata.get("name") or "photos",
        "Train photos": len(index.split("train")),
        "Of these in a trial": space.photos or "all",
        "Val photos": len(index.split("val")),
        **{f"Searched: {name}": _describe(parameter) for name, parameter in space.parameters.items()},
        **{f"Fixed: {name}": value for name, value in space.fixed.items()},
    }


def _describe(parameter: Any) -> str:
    if isinstance(parameter, Choices):
        return ", ".join(map(str, parameter.choices))
    return f"{parameter.low:g} to {parameter.high:g}{', logarithmic' if parameter.log else ''}"


def _summary(best: TrialRow, space: SearchSpace) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in readable(best.parameters).items())
    return f"Best is trial {best.number} with {space.metric} {best.value:.3f}: {settings}."


def _tiles(rows: list[TrialRow], best: TrialRow, space: SearchSpace, refit: dict[str, float]) -> list[Tile]:
    states = [row.state for row in rows]
    tiles = [Tile(f"Best {space.metric}", best.value, f"trial {best.number}", "good")]
    if space.metric in refit:
        tiles.append(Tile(f"{space.metric}, refit", refit[space.metric], "all train photos"))
    tiles += [Tile(f"Trials {state}", states.count(state)) for state in ("complete", "pruned")]
    failed = states.count("failed")
    return [*tiles, Tile("Trials failed", failed, "", "bad" if failed else "plain")]
