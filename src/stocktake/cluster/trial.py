"""What a candidate has to go through: a rehearsal where there is no room for it, a smoke test, a watch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from stocktake.cluster.api import INFERENCE_SERVICE, SERVING_RUNTIME, Conflict
from stocktake.cluster.predictor_client import PredictorClient
from stocktake.cluster.rehearsal import CPU_RUNTIME, rehearsal_name, rehearsal_service
from stocktake.cluster.rollout import Served
from stocktake.cluster.smoke import Disagreement, check_answers
from stocktake.cluster.target import NotReady, Target
from stocktake.cluster.watching import Limits, Traffic
from stocktake.cluster.workload import addresses, deployment_name, deployment_workload, restarts, tag_address
from stocktake.errors import BadRequest, DataError, ModelError, SettingsError, StoreError

OF_THE_MODEL = (BadRequest, DataError, ModelError, SettingsError, StoreError)  # and not of Kubernetes

Log = Callable[[str], None]


class Refused(Exception):
    """A candidate may not serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a candidate is tried with, and how long pods may take to answer."""

    model_dir: Path
    photos: list[bytes]
    limits: Limits
    watch_s: float
    share: int  # percent of the requests
    ready_s: float
    url: str | None = None  # where the candidate answers, where its pods can't be reached
    token: str | None = field(default=None, repr=False)  # that predictors ask for


class Trial:
    """The trial of one candidate."""

    def __init__(self, target: Target, terms: Terms, log: Log):
        """`log` is told each step."""
        self.terms = terms
        self._target, self._log = target, log

    def smoke(self, selector: str, candidate: Served) -> str:
        """Compare what the pods say with what the model dir says offline. Returns a sentence.

        Raises:
            Refused: they do not answer, serve another model, or say something else.
        """
        compared = self._compare(selector, self._target.name, candidate)
        self._log(f"smoke test: {compared}")
        return compared

    def watch(self, selector: str) -> str:
        """Look at errors and times of real requests. Returns what was seen.

        Raises:
            Refused: there were too many, or it was too slow, or a container ended.
        """
        traffic, deadline = Traffic(self._target.name), monotonic() + self.terms.watch_s
        ended = restarts(self._target.cluster, selector)
        while True:
            traffic.look(self._clients(selector, self._target.name))
            if restarts(self._target.cluster, selector) > ended:
                raise Refused(f"one of its containers ended and was started again; {traffic}")
            over = monotonic() >= deadline
            if excess := traffic.excess(self.terms.limits, over):
                raise Refused(excess)
            if over and traffic.unseen and monotonic() >= deadline + self.terms.ready_s:
                raise Refused("none of its pods says at the end of the watch how it does")
            if over and not traffic.unseen:
                self._log(f"watched for {self.terms.watch_s:g} s: {traffic}")
                return str(traffic)
            self._target.pause()

    def rehearse(self, candidate: Served) -> None:
        """Smoke-test a candidate on its own, on CPU, before it replaces what serves.

        Raises:
            Refused: it does not start, or fails.
        """
        cluster, name = self._target.cluster, rehearsal_name(self._target.name)
        if cluster.get(SERVING_RUNTIME, CPU_RUNTIME) is None:
            raise Refused(
                f"rehearsal on CPU: there is no ServingRuntime {CPU_RUNTIME}; apply the overlay again"
            )
        try:
            made = cluster.create(rehearsal_service(self._target.live(), candidate))
        except Conflict as error:
            raise Refused(
                f"rehearsal on CPU: InferenceService {name} is there: another deploy rehearses now, or it is "
                f"none of ours and has to get another name ({error})"
            ) from error
        workload = deployment_workload(cluster, deployment_name(name, ""), candidate)

        def problem() -> str:
            return deployment_workload(cluster, deployment_name(name, ""), candidate).problem

        try:
            self._target.wait(problem, self.terms.ready_s)
            compared = self._compare(workload.selector, name, candidate)
        except NotReady as error:
            raise Refused(f"rehearsal on CPU: {error}") from error
        finally:
            # The deploy that has taken over may rehearse under the same name by now.
            cluster.delete(INFERENCE_SERVICE, name, made["metadata"]["uid"])
        self._log(f"rehearsal on CPU: {compared}")

    def _compare(self, selector: str, name: str, candidate: Served) -> str:
        asked: list[PredictorClient] = []

        def unreachable() -> str:
            asked[:] = self._clients(selector, name)
            try:
                for client in asked:
                    client.metadata()
            except StoreError as error:
                return str(error)
            return "" if asked else f"there is no pod that is ready ({selector})"

        try:
            self._target.wait(unreachable, self.terms.ready_s)
            return check_answers(asked, self.terms.model_dir, candidate.digest, self.terms.photos)
        except (NotReady, Disagreement, *OF_THE_MODEL) as error:
            raise Refused(f"smoke test: {error}") from error

    def _clients(self, selector: str, name: str) -> list[PredictorClient]:
        urls = [self.terms.url] if self.terms.url else addresses(self._target.cluster, selector)
        urls = urls or tag_address(self._target.live())
        return [PredictorClient(url, name, self.terms.token, self._target.keep) for url in urls]
