"""The table of all checks: their names and their order."""

from collections.abc import Callable
from functools import partial

from stocktake.cluster.api import EXPERIMENT, TRAIN_JOB, ClusterError, Kind
from stocktake.cluster.connection import connect
from stocktake.cluster.rights import TO_DEPLOY, TO_SEARCH, TO_TRAIN
from stocktake.doctor import (
    bucket,
    kubeflow,
    kubernetes_checks,
    machine,
    models,
    nodes,
    predictors,
    services,
    serving,
)
from stocktake.doctor.examination import Check
from stocktake.doctor.finding import Finding, Status, fail
from stocktake.doctor.site import Site

GUIDE = "docs/install.md"
PIPELINE = Kind("pipelines.kubeflow.org/v2beta1", "Pipeline")

MACHINE: dict[str, Check] = {
    "python": machine.python,
    "packages": machine.packages,
    "disk": machine.disk,
    "memory": machine.memory,
    "gpu": machine.gpu,
    "store": machine.store,
    "mlflow": machine.mlflow,
    "training image": machine.image,
    "ports": machine.ports,
    "programs": machine.programs,
    "test services": machine.services,
}

_apis = kubernetes_checks.apis
_rights = kubernetes_checks.rights

CLUSTER: dict[str, Callable[[Site], Finding]] = {
    "kubernetes": kubernetes_checks.version,
    "namespace": kubernetes_checks.namespace,
    "may deploy": partial(_rights, wanted=TO_DEPLOY),
    "may search": partial(_rights, wanted=TO_SEARCH),
    "may train": partial(_rights, wanted=TO_TRAIN),
    "pipeline-runner": kubernetes_checks.runner_rights,
    "endpoints": services.endpoints,
    "s3-credentials": bucket.credentials,
    "s3 store": bucket.store,
    "mlflow": services.mlflow,
    "prometheus": services.prometheus,
    "redis": services.redis,
    "champions": models.champions,
    "gpus": nodes.gpus,
    "gpu taints": nodes.taints,
    "spare gpu": nodes.rollout,
    "kserve api": partial(
        _apis,
        kinds=kubernetes_checks.KSERVE_APIS,
        status=Status.FAIL,
        without="nothing can be served",
        mend=GUIDE,
    ),
    "kserve version": serving.version,
    "kserve mode": serving.mode,
    "gateway": serving.gateway,
    "keda": serving.keda,
    "runtimes": predictors.runtimes,
    "model fetching": bucket.fetching,
    "predictors": predictors.predictors,
    "rehearsals": predictors.rehearsals,
    "names": predictors.names,
    "images": predictors.images,
    "monitoring": partial(
        _apis,
        kinds=kubernetes_checks.MONITORING_APIS,
        status=Status.WARN,
        without="no metrics, no alerts",
        mend=GUIDE,
    ),
    "pipelines": kubeflow.pipelines,
    "pipelines api": partial(
        _apis,
        kinds=(PIPELINE,),
        status=Status.WARN,
        without="upload compiled YAML in the UI instead",
        mend=GUIDE,
    ),
    "katib": partial(
        _apis, kinds=(EXPERIMENT,), status=Status.WARN, without="searches run on one machine only", mend=GUIDE
    ),
    "katib label": kubernetes_checks.collector_label,
    "trainer": partial(
        _apis, kinds=(TRAIN_JOB,), status=Status.WARN, without="trainings stay on one node", mend=GUIDE
    ),
}


def cluster_checks(namespace: str | None = None, context: str | None = None) -> dict[str, Check]:
    """Those of a cluster; where it cannot be reached, one that says why."""
    try:
        site = Site(connect(namespace, context))
    except ClusterError as error:
        return {"kubernetes": partial(fail, str(error))}
    return {name: partial(check, site) for name, check in CLUSTER.items()}
