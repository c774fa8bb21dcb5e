"""A candidate on its own, before it takes the place of the only model that there is room for."""

from pathlib import Path

import pytest

from stocktake.cluster.api import INFERENCE_SERVICE, SERVING_RUNTIME, Cluster, ClusterError
from stocktake.cluster.deploy import deploy, roll_back
from stocktake.cluster.deployment import Deployment
from stocktake.cluster.lease import LEASE, DeployLease, LeaseLost
from stocktake.cluster.rehearsal import rehearsal_service
from stocktake.cluster.rollout import Served
from stocktake.cluster.target import Target
from stocktake.cluster.trial import Terms, Trial
from stocktake.cluster.watching import Limits
from stocktake.doctor import predictors
from stocktake.doctor.finding import Status
from stocktake.doctor.site import Site
from tests.cluster.deploys import NAME, DyingCluster, Killed, expire, runtime, service

OTHER = Served("s3://models/store/other/", f"models:/{NAME}/3")


def test_a_rehearsal_needs_its_runtime(cluster, start, models, quick):
    controllers = start(weighted=False)
    cluster.delete(SERVING_RUNTIME, "stocktake-cpu")
    report = deploy(cluster, models.versions[1], quick)
    assert report.outcome == "rolled back"
    assert "there is no ServingRuntime stocktake-cpu" in report.reason
    controllers.settle()
    assert {backends for (backends,) in controllers.history} == {(100, models.uris[0], 1)}


def test_a_rehearsal_that_a_killed_deploy_has_left_is_deleted(cluster, start, models, quick):
    controllers = start(weighted=False)
    with pytest.raises(Killed):
        deploy(DyingCluster(cluster, 3), models.versions[1], quick)  # the Lease twice, then the rehearsal
    assert cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate")
    assert "shelf-detector-candidate" in predictors.rehearsals(Site(cluster)).found
    expire(cluster)
    said = []
    with pytest.raises(ClusterError, match="no candidate or model before it"):
        roll_back(cluster, NAME, quick, said.append)
    assert "shelf-detector-candidate is deleted" in " ".join(said)
    assert cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate") is None
    assert predictors.rehearsals(Site(cluster)).status is Status.OK
    assert controllers.settle() == [(100, models.uris[0], 1)]


def test_somebody_elses_service_is_no_rehearsal(cluster, start, models, quick):
    start(weighted=False)
    theirs = service("Standard")
    theirs["metadata"]["name"] = f"{NAME}-candidate"
    cluster.create(theirs)
    report = deploy(cluster, models.versions[1], quick)
    assert "shelf-detector-candidate is there: another deploy rehearses now, or it is" in report.reason
    assert cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate")


class Overtaken(Target):
    """In the hands of a deploy that is silent for too long, so that another one comes to its rehearsal."""

    def pause(self):
        expire(self.cluster)
        lease = DeployLease(self.cluster, self.live())
        lease.acquire()
        Deployment(Target(self.cluster, NAME, lease, "direct", 0.01), 60, print).clear_rehearsal()
        self.cluster.apply(rehearsal_service(self.live(), OTHER), "stocktake-deploy")
        super().pause()


def test_a_rehearsal_of_the_deploy_that_has_taken_over_stays(cluster):
    live = cluster.apply(service("Standard"), "kubectl")
    cluster.apply(runtime(), "kubectl")
    lease = DeployLease(cluster, live, seconds=1)
    lease.acquire()
    target = Overtaken(cluster, NAME, lease, "direct", 0.3)  # seconds, after which it is renewed
    trial = Trial(target, Terms(Path(), [], Limits(0, 0), 0, 10, 60), print)
    with pytest.raises(LeaseLost):
        trial.rehearse(Served("s3://models/store/ours/", f"models:/{NAME}/2"))
    kept = cluster.get(INFERENCE_SERVICE, f"{NAME}-candidate")
    assert kept["spec"]["predictor"]["model"]["storageUri"] == OTHER.uri


def test_asking_a_predictor_keeps_the_lease(cluster, models):
    live = cluster.apply(service("Standard"), "kubectl")
    lease = DeployLease(cluster, live, seconds=1)
    lease.acquire()
    target = Target(cluster, NAME, lease, "direct", 0.01)
    url = f"http://127.0.0.1:{models.port}"
    (client,) = Trial(target, Terms(Path(), [], Limits(0, 0), 0, 10, 60, url), print)._clients("", NAME)
    first = renewed(cluster)
    while renewed(cluster) == first:
        client.metadata()


def renewed(cluster: Cluster) -> str:
    return cluster.get(LEASE, f"deploy-{NAME}")["spec"]["renewTime"]
