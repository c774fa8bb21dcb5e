"""The steps from one model to another. Each is one write, and may be the last that a killed deploy has made.

    begin -> pods are ready -> smoke test -> a share of the requests -> watch -> promote
                          any of them fails -> withdraw

Before the last write the old model serves, after it the new one: in pods that were ready before, or in the
place of old ones, which Kubernetes ends one after the other. Where a rerun begins is read from the cluster.
"""

from contextlib import suppress
from dataclasses import replace

from stocktake.cluster.api import INFERENCE_SERVICE, ClusterError
from stocktake.cluster.rehearsal import is_rehearsal, rehearsal_name
from stocktake.cluster.rollout import FULL, Record, Rollout, Served, is_autoscaled
from stocktake.cluster.target import NotReady, Target
from stocktake.cluster.trial import Log, Refused, Trial

GROWTH_STEPS = 4  # in which a canary takes over


class Deployment:
    """Moves a service from one model to another."""

    def __init__(self, target: Target, timeout_s: float, log: Log):
        """`timeout_s`: for pods to be ready and routes to be changed; `log` is told each step."""
        self._target, self._timeout_s, self._log = target, timeout_s, log

    def settle(self) -> Rollout:
        """Finish what a killed deploy or rollback has left of a candidate that was promoted or withdrawn."""
        rollout, tried = self._target.rollout(), self._target.record.candidate
        if rollout.candidate is None and rollout.serving and tried and rollout.serving.uri == tried.uri:
            self.confirm(rollout)
        if rollout.candidate is None and rollout.share is not None:
            return self._give_back(rollout)
        return rollout

    def clear_rehearsal(self) -> None:
        """Delete the InferenceService in which a killed deploy has rehearsed its candidate.

        Raises:
            ClusterError: it does not go away.
        """
        cluster, name = self._target.cluster, rehearsal_name(self._target.name)
        found = cluster.get(INFERENCE_SERVICE, name)
        if found is None or not is_rehearsal(found):
            return
        self._log(f"{name} is deleted, which a deploy before has left")
        cluster.delete(INFERENCE_SERVICE, name, found["metadata"]["uid"])
        still = f"InferenceService {name} is still there"
        try:
            self._target.wait(lambda: still if cluster.get(INFERENCE_SERVICE, name) else "", self._timeout_s)
        except NotReady as error:
            raise ClusterError(str(error)) from error

    def begin(self, rollout: Rollout, candidate: Served, back: bool = False) -> Rollout:
        """Bring a candidate in, with no share of the requests where that can be.

        `back` says that it served before.
        """
        if rollout.serving is None:  # nothing to compare with, and nobody to disturb
            rollout = replace(rollout, way="direct")
        known = replace(self._target.record, serving=rollout.serving, candidate=candidate)
        self._target.remember(replace(known, way=rollout.way, back=back))
        begun = rollout.begun(candidate)
        self._target.change(rollout, begun)
        self._log(f"{candidate.label} is brought in ({rollout.way})")
        return begun

    def await_candidate(self, rollout: Rollout) -> str:
        """Wait for the candidate's pods. Returns the selector of their labels.

        Raises:
            Refused: they are not ready in time.
        """
        assert rollout.candidate
        try:
            return self._target.await_pods(rollout, rollout.candidate, self._timeout_s)
        except NotReady as error:
            raise Refused(str(error)) from error

    def judge(self, rollout: Rollout, trial: Trial) -> tuple[Rollout, str]:
        """Smoke-test the candidate, give it its share of the requests, watch it. Returns what was seen.

        Raises:
            Refused: it is not ready in time, says something else than offline, fails too often, is too slow.
        """
        assert rollout.candidate
        selector = self.await_candidate(rollout)
        compared = trial.smoke(selector, rollout.candidate)
        if rollout.share is not None and rollout.share < trial.terms.share:
            shared = rollout.sharing(trial.terms.share)
            self._target.change(rollout, shared)
            rollout = shared
        if rollout.share is not None:
            self._await_share(rollout)
            self._log(f"it gets {rollout.share} % of the requests")
        return rollout, f"{compared}; {trial.watch(selector)}"

    def promote(self, rollout: Rollout) -> None:
        """Make the candidate what serves.

        Raises:
            Refused: it can't be given as many pods as the service has, or they are not ready any more.
            ClusterError: it serves, but not all of its pods are ready in time.
        """
        if rollout.way == "canary":
            autoscaled = is_autoscaled(self._target.live())
            rollout = self._exchange(rollout) if autoscaled else self._take_over(self._grow(rollout))
        self.await_candidate(rollout)
        promoted = rollout.promoted()
        self._target.change(rollout, promoted)
        self.confirm(promoted)

    def confirm(self, rollout: Rollout) -> None:
        """Remember what serves, and see that it does."""
        record, serving = self._target.record, rollout.serving
        assert serving
        known = record.serving is None or record.serving.uri == serving.uri
        previous = record.previous if known else None if record.back else record.serving
        self._target.remember(Record(serving, previous, report=record.report))
        try:
            self._target.await_pods(rollout, serving, self._timeout_s)
            if rollout.way == "revisions":
                self._target.await_share(rollout, self._timeout_s)
        except NotReady as error:
            raise ClusterError(f"{serving.label} serves, but {error}") from error

    def withdraw(self, rollout: Rollout) -> Rollout:
        """Take the candidate away, and its requests before that: KServe ends its pods first."""
        if rollout.way == "canary" and rollout.share:
            idle = rollout.sharing(0)
            self._target.change(rollout, idle)
            rollout = idle
            with suppress(NotReady):
                self._target.await_share(rollout, self._timeout_s)
        withdrawn = rollout.withdrawn()
        self._target.change(rollout, withdrawn)
        return self._give_back(withdrawn)

    def _give_back(self, rollout: Rollout) -> Rollout:
        """Wait until what served before is there again, then forget the candidate."""
        if rollout.serving and rollout.way != "canary":
            try:
                self._target.await_pods(rollout, rollout.serving, self._timeout_s)
            except NotReady as error:
                raise ClusterError(
                    f"{rollout.serving.label} serves, but {error}; run the same command again"
                ) from error
        settled = rollout.settled()
        self._target.change(rollout, settled)
        self._target.remember(replace(self._target.record, candidate=None, way=None, back=False))
        return settled

    def _grow(self, rollout: Rollout) -> Rollout:
        """Give a canary as many pods as the service has, and requests in proportion.

        KServe ends the pods of the model before at once when a canary is promoted.
        """
        wanted = self._target.live()["spec"]["predictor"].get("minReplicas", 1)
        step = max(1, wanted // GROWTH_STEPS)
        while (have := rollout.replicas or 1) < wanted:
            more = min(wanted, have + step)
            for share in (rollout.share or 0, max(rollout.share or 0, FULL * more // wanted)):
                grown = rollout.sharing(share, more)
                self._target.change(rollout, grown)
                rollout = grown
                self.await_candidate(rollout)
        return rollout

    def _exchange(self, rollout: Rollout) -> Rollout:
        """Exchange the model in the pods that serve, once a canary has shown that it can.

        How many these are an autoscaler says, and a canary may not have more than `minReplicas`: in its place
        there would be too few. Where there is no GPU to spare, that of the canary is free by then.
        """
        assert rollout.candidate
        candidate, back = rollout.candidate, self._target.record.back
        alone = self.withdraw(rollout)
        self._log("as many pods as the autoscaler has set are exchanged, one after the other")
        return self.begin(replace(alone, way="direct"), candidate, back)

    def _take_over(self, rollout: Rollout) -> Rollout:
        """Send all requests to a canary: KServe ends the one before it first, and changes routes later."""
        alone = rollout.sharing(FULL)
        self._target.change(rollout, alone)
        self._await_share(alone)
        return alone

    def _await_share(self, rollout: Rollout) -> None:
        try:
            self._target.await_share(rollout, self._timeout_s)
        except NotReady as error:
            raise Refused(str(error)) from error
