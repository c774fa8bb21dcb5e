"""Where an InferenceService stands between two models: read from the cluster, written by server-side apply.

    canary      Standard with weighted routes: spec.canary, a second Deployment that gets a share of requests
    revisions   Knative: canaryTrafficPercent, a second revision that does
    direct      neither: the model is exchanged in place

All of it is in the fields that `spec_fields` writes, but for what a rollback needs to know: which model
served before. That is in a record beside it, see `lease`. It is in no annotation of the InferenceService:
KServe copies those to the pods, and would start them all again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Way = Literal["canary", "revisions", "direct"]

AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"
FULL = 100  # percent


@dataclass(frozen=True, slots=True)
class Served:
    """A model dir as a cluster names it: s3://…/<digest>/, and the models:/name/version that it is."""

    uri: str
    version: str = "a model of no known version"

    @property
    def digest(self) -> str:
        """SHA-256 of the model dir, which is what its folder is called."""
        return self.uri.rstrip("/").rpartition("/")[2]

    @property
    def label(self) -> str:
        """For people: the version and the first digits of the digest."""
        return f"{self.version} ({self.digest[:12]})"


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a service beside its spec.

    `way` is how `candidate` is brought in; `back` that it served before, and is to replace a model for which
    there is no way back then. `report` is the last one.
    """

    serving: Served | None = None
    previous: Served | None = None
    candidate: Served | None = None
    way: Way | None = None
    back: bool = False
    report: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """Which model a service has, and which one it is being moved to.

    Attributes:
        way: how a candidate is brought in.
        serving: the model that answers; None before the first deploy.
        candidate: the one that is tried, None where there is none.
        share: percent of the requests that `candidate` gets. With `revisions` it may outlive a candidate that
            was withdrawn, until what served before is ready again.
        replicas: of a canary.
        slot: spec.predictor.name, part of the name of the Deployment that serves; empty at first.
    """

    way: Way
    serving: Served | None = None
    candidate: Served | None = None
    share: int | None = None
    replicas: int | None = None
    slot: str = ""

    def begun(self, candidate: Served) -> Rollout:
        """The candidate is there, and gets no requests where there is a way to give it a share."""
        if self.way == "canary":
            return replace(self, candidate=candidate, share=0, replicas=1)
        return replace(self, candidate=candidate, share=0 if self.way == "revisions" else None)

    def sharing(self, percent: int, replicas: int | None = None) -> Rollout:
        """The candidate gets that many percent of the requests, and has that many replicas."""
        return replace(self, share=percent, replicas=replicas or self.replicas)

    def promoted(self) -> Rollout:
        """The candidate is what serves. A canary keeps its Deployment, and so its pods."""
        slot = self.candidate_slot if self.way == "canary" else self.slot
        return Rollout(self.way, self.candidate, slot=slot)

    def withdrawn(self) -> Rollout:
        """The candidate gets no request any more."""
        share = 0 if self.way == "revisions" else None
        return Rollout(self.way, self.serving, share=share, slot=self.slot)

    def settled(self) -> Rollout:
        """No share is left over from a candidate that was withdrawn."""
        return replace(self, share=None) if self.candidate is None else self

    @property
    def model(self) -> Served | None:
        """The model in spec.predictor."""
        return self.serving if self.way == "canary" or self.candidate is None else self.candidate

    @property
    def candidate_slot(self) -> str:
        """The name of a canary: of its digest, so that no status of another one is taken for its own."""
        assert self.candidate
        digits = self.candidate.digest[:8]
        return f"m{digits}" if self.slot != f"m{digits}" else f"n{digits}"


def observe(live: Mapping[str, Any], record: Record, way: Way) -> Rollout:
    """Where a service stands.

    Args:
        live: the InferenceService.
        record: what is remembered of it; where it contradicts the spec, the spec is believed.
        way: how a candidate is to be brought in, where none is.
    """
    predictor = live["spec"].get("predictor") or {}
    uri = (predictor.get("model") or {}).get("storageUri")
    share, slot = predictor.get("canaryTrafficPercent"), predictor.get("name") or ""
    for canary in live["spec"].get("canary") or []:
        tried = canary["predictor"]
        candidate = _named((tried.get("model") or {}).get("storageUri"), record)
        percent, replicas = canary["trafficPercent"], tried.get("minReplicas")
        return Rollout("canary", _named(uri, record), candidate, percent, replicas, slot)
    trying = record.candidate is not None and uri == record.candidate.uri
    if trying and (share is not None if record.way == "revisions" else record.way == "direct"):
        assert record.way
        return Rollout(record.way, record.serving, record.candidate, share, slot=slot)
    return Rollout(way, _named(uri, record), share=share, slot=slot)


def spec_fields(rollout: Rollout, live: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of spec that a deploy owns, for server-side apply."""
    predictor: dict[str, Any] = {"name": rollout.slot} if rollout.slot else {}
    if rollout.model:
        predictor["model"] = {"storageUri": rollout.model.uri}
    if rollout.way == "revisions" and rollout.share is not None:
        predictor["canaryTrafficPercent"] = rollout.share
    spec: dict[str, Any] = {"predictor": predictor} if predictor else {}
    if rollout.way == "canary" and rollout.candidate:
        spec["canary"] = [{"trafficPercent": rollout.share, "predictor": _canary(rollout, live)}]
    return spec


def is_autoscaled(live: Mapping[str, Any]) -> bool:
    """Whether something else than `minReplicas` says how many pods there are; by default KServe does."""
    return (live["metadata"].get("annotations") or {}).get(AUTOSCALER_CLASS) != "none"


def _canary(rollout: Rollout, live: Mapping[str, Any]) -> dict[str, Any]:
    """KServe merges it over spec.predictor, so that it says only what is different."""
    assert rollout.candidate
    canary: dict[str, Any] = {
        "name": rollout.candidate_slot,
        "minReplicas": rollout.replicas,
        "model": {
            "name": "",  # the definition asks for one, and KServe refuses it
            "modelFormat": live["spec"]["predictor"]["model"]["modelFormat"],
            "storageUri": rollout.candidate.uri,
        },
    }
    if is_autoscaled(live):  # a canary has no metrics, and a ScaledObject without them is refused
        canary["annotations"] = {AUTOSCALER_CLASS: "none"}
    return canary


def _named(uri: str | None, record: Record) -> Served | None:
    if uri is None:
        return None
    known = (record.serving, record.candidate, record.previous)
    return next((each for each in known if each and each.uri == uri), Served(uri))
