"""The InferenceService that a deploy changes: only over what was read, and while the lease is held."""

import time
from collections.abc import Callable
from typing import Any

from stocktake.cluster.api import INFERENCE_SERVICE, Cluster, ClusterError, Conflict, Object
from stocktake.cluster.lease import MANAGER, DeployLease
from stocktake.cluster.rollout import Record, Rollout, Served, Way, observe, spec_fields
from stocktake.cluster.workload import Workload, find_workload, has_share


class NotReady(Exception):
    """Something did not come about in time; the message says what is missing."""


class Target:
    """One InferenceService, in the hands of one deploy."""

    def __init__(
        self, cluster: Cluster, name: str, lease: DeployLease, way: Way, poll_s: float, stopped: bool = False
    ):
        """`way`: how a candidate is brought in where none is; `poll_s`: between two looks.

        Of a service that is `stopped` there are no pods and routes to wait for.
        """
        self.cluster, self.name = cluster, name
        self._lease, self._way, self._poll_s = lease, way, poll_s
        self.stopped = stopped

    @property
    def record(self) -> Record:
        """What is remembered of it."""
        return self._lease.record

    def remember(self, record: Record) -> None:
        """Keep a record for those who deploy later."""
        self._lease.save(record)

    def live(self) -> Object:
        """The object as it is.

        Raises:
            ClusterError: it was deleted.
        """
        found = self.cluster.get(INFERENCE_SERVICE, self.name)
        if found is None:
            raise ClusterError(f"InferenceService {self.cluster.namespace}/{self.name} was deleted meanwhile")
        return found

    def rollout(self) -> Rollout:
        """Where it stands."""
        return observe(self.live(), self.record, self._way)

    def change(self, before: Rollout, after: Rollout) -> None:
        """Move it from one state to another.

        Raises:
            LeaseLost: another deploy has taken over.
            ClusterError: it is in neither of the two, or Kubernetes refuses.
        """
        while True:
            live = self.live()
            fields = spec_fields(observe(live, self.record, self._way), live)
            if fields == spec_fields(after, live):
                return
            if fields != spec_fields(before, live):
                raise ClusterError(
                    f"InferenceService {self.name} was changed by somebody meanwhile; look at it, then run "
                    "the same command again"
                )
            self._lease.check()
            try:
                self.cluster.apply(self._manifest(live, spec_fields(after, live)), MANAGER)
                return
            except Conflict:
                if self._version(self.live()) == self._version(live):
                    raise  # of owners: another manager has taken a field of ours

    def workload(self, rollout: Rollout, model: Served) -> Workload:
        """The pods of a model that is served, or tried."""
        return find_workload(self.cluster, self.live(), rollout, model)

    def await_pods(self, rollout: Rollout, model: Served, timeout_s: float) -> str:
        """Wait until all pods of a model answer. Returns the selector of their labels.

        Raises:
            NotReady: they do not in time.
        """
        found = self.workload(rollout, model)

        def problem() -> str:
            nonlocal found
            found = self.workload(rollout, model)
            return "" if self.stopped else found.problem

        self.wait(problem, timeout_s)
        return found.selector

    def await_share(self, rollout: Rollout, timeout_s: float) -> None:
        """Wait until requests are divided as `rollout` says.

        Raises:
            NotReady: they are not in time.
        """
        missing = (
            f"the candidate's share of the requests is not {rollout.share} %; weights of a canary need "
            "KServe 0.21 or newer with enableGatewayApi"
        )

        def problem() -> str:
            return "" if self.stopped or has_share(self.cluster, self.live(), rollout) else missing

        self.wait(problem, timeout_s)

    def wait(self, problem: Callable[[], str], timeout_s: float) -> None:
        """Look until there is no problem any more, and keep the lease meanwhile.

        Raises:
            NotReady: there still is one after that time.
        """
        deadline = time.monotonic() + timeout_s
        while said := problem():
            if time.monotonic() >= deadline:
                raise NotReady(f"{said}, after {timeout_s:g} s")
            self.pause()

    def pause(self) -> None:
        """Wait between two looks."""
        time.sleep(self._poll_s)
        self.keep()

    def keep(self) -> None:
        """Keep the lease while something takes long; cheap where it is fresh.

        Raises:
            LeaseLost: another deploy has taken over.
        """
        self._lease.renew()

    def _manifest(self, live: Object, spec: dict[str, Any]) -> Object:
        return {
            "apiVersion": INFERENCE_SERVICE.api_version,
            "kind": INFERENCE_SERVICE.kind,
            "metadata": {"name": self.name, "resourceVersion": self._version(live)},
            **({"spec": spec} if spec else {}),
        }

    @staticmethod
    def _version(live: Object) -> str:
        return str(live["metadata"]["resourceVersion"])
