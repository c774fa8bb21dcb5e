"""The verb `stocktake bins search`: on this machine with Optuna, or as an experiment for Katib."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stocktake.errors import SettingsError
from stocktake.verbs import Options, add_verb, say_written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stocktake.tuning.katib_job import TrialPod
    from stocktake.tuning.optuna_search import SearchResult
    from stocktake.tuning.search_space import SearchSpace

ABOUT = """
A search space is a YAML file: `parameters` are drawn for each trial, `fixed` are the same in all of them. Any
setting of `stocktake bins train` may stand there.

On this machine each trial trains in a process of its own. One that is worse than the median of the others at
the same epoch is stopped; one that runs out of memory has failed, and the search goes on. Killed or stopped
with Ctrl-C, the same command continues: finished trials count, running ones go on from their last epoch. More
--trials add to a study that has ended. The best trial's settings are trained on all photos; --no-refit leaves
that out.

On a cluster --on-katib starts an experiment and follows it; killed, the same command takes it up again. The
index is put into the store for its trials. --best-of runs/search/bins/experiment.json trains with the best.

--katib writes the experiment for `kubectl apply` instead; --data is then the path that its pods see. When it
has ended, `kubectl get experiment bins -o json > found.json` gives a file for --best-of.
"""


def add_to_verbs(verbs: Any) -> None:
    """Add the verb to the subparsers of `stocktake bins`."""
    text = "search the settings to train with, and train with the best"
    example = "--data runs/prepared/index.parquet --space bins --trials 20 --workers 2"
    parser = add_verb("bins", verbs, "search", run, text, example)
    parser.description = f"{parser.description}\n{ABOUT}"
    parser.formatter_class = _Formatter
    parser.add_argument("--data", required=True, help="a prepared index.parquet")
    parser.add_argument("--space", default="bins", help="a YAML file, or one of ours: bins, bins-demo")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="fix a setting; may be repeated"
    )
    parser.add_argument("--trials", type=int, help="in all; the space says how many if not given")
    parser.add_argument("--workers", type=int, default=1, help="trials at a time")
    parser.add_argument("--study", default="bins", help="name of the search, and of its folder")
    parser.add_argument("--seed", type=int, default=0, help="of the search: same seed, same first trials")
    _add_here(parser.add_argument_group("on this machine"))
    _add_cluster(parser.add_argument_group("on a cluster"))


def _add_here(group: Any) -> None:
    group.add_argument("--project", type=Path, default=Path("runs/search"), help="folder of searches")
    group.add_argument(
        "--storage", help="of the trials: a file, *.journal or a database URL; in the folder if not given"
    )
    group.add_argument(
        "--device", default="", help="as in train; of a list such as 0,1 each worker takes one in turn"
    )
    group.add_argument("--no-refit", action="store_true", help="end with the best trial")


def _add_cluster(group: Any) -> None:
    group.add_argument("--katib", type=Path, metavar="FILE", help="write an experiment there; train nothing")
    group.add_argument(
        "--on-katib",
        action="store_true",
        help="run it as an experiment, on the cluster of kubectl",
    )
    group.add_argument("--namespace", help="of the experiment; that of kubectl if not given")
    group.add_argument(
        "--best-of", type=Path, metavar="JSON", help="search nothing: train with the best of this experiment"
    )
    group.add_argument("--image", help="of the trials; STOCKTAKE_TRAIN_IMAGE if not given")
    group.add_argument("--claim", default="", help="PersistentVolumeClaim to mount at /data, read-only")
    group.add_argument(
        "--cache-claim", default="", help="PersistentVolumeClaim for fetched photos that all trials share"
    )
    group.add_argument("--gpus", type=int, default=1, help="of a trial")
    group.add_argument("--gpu-type", default="nvidia.com/gpu", help="resource name of the GPUs")
    group.add_argument("--parent-run", default="", help="run of MLflow to put those of the trials below")


def run(options: Options) -> None:
    """Search here, or write an experiment."""
    from stocktake.tuning.search_space import load

    space = load(options.space, dict(map(_assignment, options.set)))
    chosen = [name for name in ("katib", "best_of", "on_katib") if getattr(options, name)]
    if len(chosen) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise SettingsError(f"{flags} exclude each other: give one of them")
    actions = {"katib": _write_experiment, "best_of": _train_best, "on_katib": _search_on_cluster}
    actions.get("".join(chosen), _search)(space, options)


def _search(space: "SearchSpace", options: Options) -> None:
    from stocktake.tuning.optuna_search import search

    result = search(
        Path(options.data),
        options.project / options.study,
        space,
        options.study,
        options.storage,
        options.trials,
        options.workers,
        options.device,
        not options.no_refit,
        options.seed,
    )
    _say_result(space, result)


def _say_result(space: "SearchSpace", result: "SearchResult") -> None:
    from stocktake.markdown import table
    from stocktake.tuning.search_report import readable, trial_rows

    print(table([readable(row) for row in trial_rows(result.rows, space)]))
    best = _listed(readable(result.best.parameters))
    print(f"best: trial {result.best.number}, {space.metric} {result.best.value:.4g}, with {best}")
    _say_figures(result.metrics)
    say_written(result.folder, "report.html", *(["model"] if result.model_dir else []))


def _train_best(space: "SearchSpace", options: Options) -> None:
    from stocktake.setting_checks import expect_folder_name
    from stocktake.tuning.katib_result import best_values
    from stocktake.tuning.optuna_search import STORAGE_FILE
    from stocktake.tuning.refit import train_best
    from stocktake.tuning.search_lock import search_lock

    if options.no_refit:
        raise SettingsError("--best-of trains with the best, which --no-refit leaves out: give one of them")
    expect_folder_name("study", options.study)
    folder = options.project / options.study
    if (folder / STORAGE_FILE).exists():
        raise SettingsError(f"{folder} holds a search of this machine; take another --study")
    values = best_values(options.best_of, space)
    print(f"best: {_listed(values)}")
    with search_lock(folder):
        _, metrics = train_best(values, space, Path(options.data), folder, options.device)
    _say_figures(metrics)
    say_written(folder, "model")


def _listed(values: "Mapping[str, object]") -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _say_figures(metrics: "Mapping[str, float]") -> None:
    for name, value in metrics.items():
        print(f"  refit {name} {value:.4g}")


def _write_experiment(space: "SearchSpace", options: Options) -> None:
    from stocktake.cluster.manifests import write_manifests
    from stocktake.tuning.katib import experiment

    pod = _trial_pod(options)
    found = experiment(space, pod, options.study, options.trials, options.workers, options.seed)
    print(write_manifests(options.katib, found))


def _search_on_cluster(space: "SearchSpace", options: Options) -> None:
    from stocktake.cluster.connection import connect
    from stocktake.tuning.katib_search import FOUND_FILE, search_on_katib

    result = search_on_katib(
        connect(options.namespace),
        Path(options.data),
        options.project / options.study,
        space,
        _trial_pod(options),
        options.study,
        options.trials,
        options.workers,
        options.seed,
    )
    _say_result(space, result)
    say_written(result.folder, FOUND_FILE)


def _trial_pod(options: Options) -> "TrialPod":
    from stocktake.cluster.images import train_image
    from stocktake.tuning.katib_job import TrialPod

    return TrialPod(
        image=options.image or train_image(),
        data=options.data,
        claim=options.claim,
        cache_claim=options.cache_claim,
        gpus=options.gpus,
        gpu_type=options.gpu_type,
        parent_run=options.parent_run,
    )


def _assignment(text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not name or not equals:
        raise SettingsError(f"--set {text}: expected NAME=VALUE, such as img=160")
    try:
        return name, yaml.safe_load(value) if value else ""
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {text}: the value is not YAML ({error})") from error


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""
