"""Deploys and rollbacks that are killed between any two writes, and go on when they are run again."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest

from pipelines.__main__ import main
from stocktake.cluster.api import ClusterError
from stocktake.cluster.deploy import deploy, roll_back
from stocktake.cluster.lease import LEASE
from tests.cluster.deploys import (
    NAME,
    WAYS,
    DyingCluster,
    Killed,
    back_to_the_old_model,
    check_that_requests_were_answered,
    expire,
    record,
)
from tests.programs import ROOT

pytestmark = pytest.mark.long


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


# Of a whole deploy, after the last of which it is done.
WRITES = {"canary": 11, "autoscaled": 13, "revisions": 9, "direct": 9}


def test_a_deploy_that_is_killed_anywhere_leaves_a_model_serving(way, cluster, start, models, quick):
    """Cut after each write to the API: a model serves; the next deploy is refused, a later one finishes."""
    controllers = start(**WAYS[way])
    old, new = models.uris
    cuts = 0
    while True:
        cuts += 1
        try:
            deploy(DyingCluster(cluster, cuts), models.versions[1], quick)
        except Killed:
            pass
        else:
            break
        backends = controllers.settle()
        check_that_requests_were_answered(controllers)
        main = max(backends)
        assert main.uri in (old, new)
        assert main.percent >= 90 or {each.uri for each in backends} == {old, new}
        if cuts == 4:
            with pytest.raises(ClusterError, match="deploys to it"):
                deploy(cluster, models.versions[1], quick)
        expire(cluster)
        assert deploy(cluster, models.versions[1], quick).outcome in ("deployed", "unchanged")
        assert controllers.settle()[0][:2] == (100, new)
        check_that_requests_were_answered(controllers)
        assert record(cluster).previous.uri == old
        back_to_the_old_model(cluster, controllers, models, quick)
        cluster.delete(LEASE, f"deploy-{NAME}")  # so that the next one writes as many times
    assert cuts - 1 == WRITES[way]


def test_a_rollback_that_is_killed_anywhere_leaves_a_model_serving(way, cluster, start, models, quick):
    """Cut after each write of the way back from a candidate that is held, or from one that serves."""
    controllers = start(**WAYS[way])
    held = replace(quick, hold=True)
    cuts = 0
    while True:
        cuts += 1
        deploy(cluster, models.versions[1], held)
        try:
            roll_back(DyingCluster(cluster, cuts), NAME, quick)
        except Killed:
            pass
        else:
            break
        controllers.settle()
        check_that_requests_were_answered(controllers)
        expire(cluster)
        if record(cluster).candidate or record(cluster).previous:
            with suppress(ClusterError):  # it was as good as done
                roll_back(cluster, NAME, quick)
        assert controllers.settle()[0][:2] == (100, models.uris[0])
        check_that_requests_were_answered(controllers)
    assert cuts > 3


def test_the_real_program_is_killed_and_run_again(cluster, start, models, quick, capsys):
    controllers = start(**WAYS["canary"])
    command = [sys.executable, "-m", "pipelines", "deploy", NAME, "--smoke", str(quick.smoke)]
    process = subprocess.Popen(
        [*command, "--watch-seconds", "600"], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    assert any("10 % of the requests" in line for line in process.stdout)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert sorted(each.percent for each in controllers.settle()) == [10, 90]
    check_that_requests_were_answered(controllers)
    expire(cluster)
    assert main([*command[3:], "--watch-seconds", "0"]) == 0
    assert "shelf-detector: deployed: models:/shelf-detector/2" in capsys.readouterr().out
    assert controllers.settle() == [(100, models.uris[1], 2)]
    check_that_requests_were_answered(controllers)
