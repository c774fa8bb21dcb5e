"""Deploy, promote, roll back: the champion of the registry becomes what an InferenceService serves.

Everything that a rerun has to know is in the cluster: in the InferenceService, and in a Lease beside it. So a
deploy that is killed, wherever, leaves a model serving, and the same command goes on from what it finds.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from stocktake.cluster.api import Cluster, ClusterError
from stocktake.cluster.deploy_settings import DeployReport, DeploySettings, Outcome
from stocktake.cluster.deployment import Deployment
from stocktake.cluster.lease import DeployLease
from stocktake.cluster.preflight import (
    check_previous,
    check_runtime,
    check_version,
    choose_way,
    find_service,
    is_stopped,
    start_command,
)
from stocktake.cluster.rights import TO_DEPLOY, require
from stocktake.cluster.rollout import Rollout, Served
from stocktake.cluster.smoke import check_photos, smoke_photos
from stocktake.cluster.target import Target
from stocktake.cluster.trial import Log, Refused, Terms, Trial
from stocktake.cluster.watching import Limits
from stocktake.model_card import ModelCard
from stocktake.model_versions import ModelVersion, set_tags

logger = logging.getLogger(__name__)


def deploy(
    cluster: Cluster, version: ModelVersion, settings: DeploySettings, log: Log = logger.info
) -> DeployReport:
    """Make a version of a registered model what the InferenceService of its name serves, if it proves itself.

    The report is kept in the cluster, and as tags `deploy` and `deploy.reason` of the version.

    Raises:
        ClusterError: this account lacks a right, the cluster is not fit for it, another deploy runs, or
            Kubernetes refuses.
        ModelError, StoreError, DataError, SettingsError: model, photos or settings are not fit for it; in all
            of these cases nothing was changed, except by an error of Kubernetes midway, after which the same
            call goes on.
    """
    require(cluster, TO_DEPLOY)
    live = find_service(cluster, version.name)
    with TemporaryDirectory(prefix="stocktake-deploy-") as folder:
        model_dir = Path(folder)
        candidate, card = check_version(version, model_dir), ModelCard.read(model_dir)
        check_runtime(cluster, live, card)
        limits = Limits(settings.max_error_rate, settings.max_p99_s)
        photos = smoke_photos(settings.smoke, card.task)
        check_photos(model_dir, photos)
        terms = Terms(
            model_dir, photos, limits, settings.watch_s, settings.canary, settings.ready_s, settings.url,
            settings.token,
        )  # fmt: skip
        with _held(cluster, version.name, settings, log) as (target, deployment):
            trial = Trial(target, terms, log)
            report = _deploy(target, deployment, candidate, trial, settings.hold)
            target.remember(replace(target.record, report=report.sentence))
    _tag(version, report)
    return report


def promote(
    cluster: Cluster, name: str, settings: DeploySettings | None = None, log: Log = logger.info
) -> DeployReport:
    """Make the candidate of an InferenceService what it serves.

    Raises:
        ClusterError: there is no candidate, its pods are not ready, or as `deploy`.
    """
    require(cluster, TO_DEPLOY)
    with _held(cluster, name, settings or DeploySettings(), log) as (target, deployment):
        rollout = deployment.settle()
        if rollout.candidate is None:
            raise ClusterError(f"{name} has no candidate to promote; `deploy --hold` brings one in")
        try:
            deployment.await_candidate(rollout)
            deployment.promote(rollout)
        except Refused as error:
            raise ClusterError(f"{rollout.candidate.label} stays a candidate: {error}") from error
        return _reported(target, "deployed", f"{rollout.candidate.label} was promoted by hand")


def roll_back(
    cluster: Cluster, name: str, settings: DeploySettings | None = None, log: Log = logger.info
) -> DeployReport:
    """Take the candidate of an InferenceService away; where there is none, go back to the model before.

    The model before is fetched and checked first, and where its pods do not become ready, what served comes
    back. A service that is stopped has no pods to wait for: it serves that model once it is started.

    Raises:
        ClusterError: there is neither, the files of the model before are not what they were or can't be read,
            its pods are not ready in time, or as `deploy`.
    """
    require(cluster, TO_DEPLOY)
    with _held(cluster, name, settings or DeploySettings(), log, may_be_stopped=True) as (target, deployment):
        rollout, previous = deployment.settle(), target.record.previous
        if rollout.candidate and not target.record.back:
            deployment.withdraw(rollout)
            return _reported(target, "rolled back", f"{rollout.candidate.label} was withdrawn by hand")
        left = _label(rollout)
        if previous is None or previous == rollout.serving:
            raise ClusterError(f"{name} serves {left}; no candidate or model before it is known")
        try:
            if rollout.candidate is None:
                check_previous(cluster, target.live(), previous)
                rollout = deployment.begin(rollout, previous, back=True)
            deployment.await_candidate(rollout)
            deployment.promote(rollout)
        except Refused as error:
            log(f"{previous.label} can't come back: {error}")  # to take it away takes time, and may fail
            _withdraw(target, deployment)
            raise ClusterError(f"{previous.label} can't come back: {error}; {left} serves") from error
        return _reported(target, "rolled back", f"by hand from {left} to {previous.label}")


def _deploy(
    target: Target, deployment: Deployment, candidate: Served, trial: Trial, hold: bool
) -> DeployReport:
    rollout = deployment.settle()
    if rollout.candidate and rollout.candidate.uri != candidate.uri:
        rollout = deployment.withdraw(rollout)
    if rollout.candidate is None and rollout.serving and rollout.serving.uri == candidate.uri:
        deployment.confirm(replace(rollout, serving=candidate))
        return DeployReport("unchanged", target.name, f"{candidate.label} is what it serves")
    seen = ""
    try:
        if rollout.candidate is None:
            if rollout.serving and rollout.way == "direct":
                trial.rehearse(candidate)
            rollout = deployment.begin(rollout, candidate)
        rollout, seen = deployment.judge(rollout, trial)
        if hold and rollout.way != "direct":
            share = f"{candidate.label} gets {rollout.share} % of the requests"
            return DeployReport("held", target.name, f"{share}: {seen}; promote it or roll it back")
        deployment.promote(rollout)
    except Refused as error:
        before = _label(rollout)
        _withdraw(target, deployment)
        return DeployReport("rolled back", target.name, f"{candidate.label}: {error}; {before} serves")
    return DeployReport("deployed", target.name, f"{candidate.label} in place of {_label(rollout)}: {seen}")


def _withdraw(target: Target, deployment: Deployment) -> None:
    """Take the candidate away, wherever it has come to."""
    if (rollout := target.rollout()).candidate:
        deployment.withdraw(rollout)


@contextmanager
def _held(
    cluster: Cluster, name: str, settings: DeploySettings, log: Log, may_be_stopped: bool = False
) -> Iterator[tuple[Target, Deployment]]:
    """The service in our hands alone, for the block."""
    live = find_service(cluster, name, may_be_stopped)
    lease = DeployLease(cluster, live)
    lease.acquire()
    try:
        way, why = choose_way(cluster, live, settings.in_place)
        log(f"{name} in {cluster.namespace} of {cluster.address}: {why}")
        target = Target(cluster, name, lease, way, settings.poll_s, is_stopped(live))
        deployment = Deployment(target, settings.ready_s, log)
        deployment.clear_rehearsal()
        yield target, deployment
    finally:
        with suppress(ClusterError):  # lost or out of reach: it runs out by itself
            lease.release()


def _reported(target: Target, outcome: Outcome, reason: str) -> DeployReport:
    if target.stopped:
        reason += f"; it is stopped, start it: {start_command(target.cluster.namespace, target.name)}"
    report = DeployReport(outcome, target.name, reason)
    target.remember(replace(target.record, report=report.sentence))
    return report


def _label(rollout: Rollout) -> str:
    return rollout.serving.label if rollout.serving else "no model"


def _tag(version: ModelVersion, report: DeployReport) -> None:
    from mlflow.exceptions import MlflowException

    try:
        set_tags(version, {"deploy": report.outcome, "deploy.reason": report.reason[:5000]})
    except MlflowException as error:  # the deploy is done, whether it is noted or not
        logger.warning("%s: the deploy is not noted in the registry: %s", version.uri, error)
