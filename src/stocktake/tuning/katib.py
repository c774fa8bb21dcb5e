"""A search on a cluster: the space as an Experiment of Katib, whose trials are Jobs that train.

Katib is picky where its CRD is not: see docs/search.md. The experiment is written for `kubectl apply`; Katib
finds the best trial; `katib_result` reads it, and `refit` trains with its parameters.
"""

import hashlib
import json
import logging
import re
from dataclasses import replace
from typing import Any

from stocktake.bins.epoch_line import FIGURE
from stocktake.cluster.experiment import PARENT_RUN, SEARCH
from stocktake.cluster.images import check_image
from stocktake.code_version import code_version
from stocktake.errors import SettingsError
from stocktake.setting_checks import expect, expect_whole
from stocktake.tuning.katib_job import CONTAINER, TRIAL_NAME, TrialPod, plain, trial_job
from stocktake.tuning.search_space import Choices, Range, SearchSpace
from stocktake.tuning.space_checks import METRICS

log = logging.getLogger(__name__)

API_VERSION = "kubeflow.org/v1beta1"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")  # Katib refuses more than 40 characters


def experiment(
    space: SearchSpace,
    pod: TrialPod,
    name: str = "bins",
    trials: int | None = None,
    workers: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """The space as an Experiment (kubeflow.org/v1beta1): multivariate TPE, early stopping by the median.

    Args:
        space: what is searched; a warning says that its `photos` is left out.
        pod: of each trial.
        name: of the experiment, at most 40 characters of a-z, 0-9 and '-'.
        trials: in all; the space's number when None.
        workers: trials at a time.
        seed: of the search.

    Raises:
        SettingsError: something that Katib would refuse or misunderstand; names the field.
    """
    trials = space.trials if trials is None else trials
    check_image(pod.image)
    expect_whole("trials", trials, 1, 100_000)
    expect_whole("workers", workers, 1, trials, ", the number of trials")
    expect(bool(NAME.fullmatch(name)), "name", name, "at most 40 of a-z, 0-9 and '-', from a letter on")
    if space.photos:
        log.warning("the space's photos (%s) is left out: trials of Katib take all photos", space.photos)
    others = [metric for metric in METRICS if metric != space.metric]
    return {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {"name": name, "annotations": _annotations(space, pod, seed)},
        "spec": {
            "objective": {
                "type": space.goal,
                "objectiveMetricName": space.metric,
                "additionalMetricNames": others,
            },
            "algorithm": {
                "algorithmName": "multivariate-tpe",
                "algorithmSettings": [{"name": "random_state", "value": str(seed)}],
            },
            "earlyStopping": {
                "algorithmName": "medianstop",
                "algorithmSettings": [
                    {"name": "min_trials_required", "value": str(space.pruning.startup_trials)},
                    {"name": "start_step", "value": str(space.pruning.warmup_epochs + 1)},
                ],
            },
            "parallelTrialCount": workers,
            "maxTrialCount": trials,
            "maxFailedTrialCount": min(trials, max(3, trials // 3)),
            "resumePolicy": "Never",
            "parameters": [_parameter(space, name) for name in space.parameters],
            "metricsCollectorSpec": {
                "collector": {"kind": "StdOut"},
                "source": {"filter": {"metricsFormat": [FIGURE]}},
            },
            "trialTemplate": {
                "primaryContainerName": CONTAINER,
                "retain": True,  # the log of a trial that failed says why
                "successCondition": 'status.conditions.#(type=="Complete")#|#(status=="True")#',
                "failureCondition": 'status.conditions.#(type=="Failed")#|#(status=="True")#',
                "trialParameters": [
                    *({"name": name, "reference": name} for name in space.parameters),
                    {"name": TRIAL_NAME, "reference": "${trialSpec.Name}"},
                ],
                "trialSpec": trial_job(space, pod),
            },
        },
    }


def search_digest(space: SearchSpace, pod: TrialPod, seed: int) -> str:
    """What tells a search from another one: space, seed, code and the Job of a trial."""
    trial = trial_job(space, replace(pod, parent_run=""))
    same = {"space": space.identity, "seed": seed, "code": code_version(), "trial": trial}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:32]


def _annotations(space: SearchSpace, pod: TrialPod, seed: int) -> dict[str, str]:
    above = {PARENT_RUN: pod.parent_run} if pod.parent_run else {}
    return {SEARCH: search_digest(space, pod, seed), **above}


def _parameter(space: SearchSpace, name: str) -> dict[str, Any]:
    parameter = space.parameters[name]
    if isinstance(parameter, Choices):
        numbers = all(isinstance(value, int | float) for value in parameter.choices)
        if any(isinstance(value, bool) for value in parameter.choices):
            raise SettingsError(f"parameters.{name}: a switch, which Katib can't search; put it into `fixed`")
        kind, feasible = "discrete" if numbers else "categorical", _listed(name, parameter)
    else:
        kind, feasible = "int" if space.is_whole(name) else "double", _ranged(parameter, space.is_whole(name))
    return {"name": name, "parameterType": kind, "feasibleSpace": feasible}


def _listed(name: str, parameter: Choices) -> dict[str, Any]:
    return {"list": [plain(f"parameters.{name}", value) for value in parameter.choices]}


def _ranged(parameter: Range, whole: bool) -> dict[str, Any]:
    feasible = {"min": str(parameter.low), "max": str(parameter.high)}
    if parameter.log:
        feasible["distribution"] = "logUniform"
    elif parameter.step or whole:
        feasible["step"] = str(parameter.step or 1)
    return feasible
