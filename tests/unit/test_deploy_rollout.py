"""The states of a rollout, as the fields of an InferenceService."""

import pytest

from stocktake.cluster.rollout import Record, Rollout, Served, observe, spec_fields

OLD = Served(f"s3://models/shelf-detector/{'a' * 64}/", "models:/shelf-detector/1")
NEW = Served(f"s3://models/shelf-detector/{'b' * 64}/", "models:/shelf-detector/2")
FORMAT = {"name": "stocktake", "version": "1"}


def live(spec: dict | None = None, autoscaler: str = "none") -> dict:
    predictor = {"minReplicas": 2, **(spec or {}).get("predictor", {})}
    predictor["model"] = {"modelFormat": FORMAT, **predictor.get("model", {})}
    annotations = {"serving.kserve.io/autoscalerClass": autoscaler}
    return {"metadata": {"annotations": annotations}, "spec": {**(spec or {}), "predictor": predictor}}


@pytest.mark.parametrize("way", ["canary", "revisions", "direct"])
def test_every_state_is_read_back_from_what_was_written(way):
    start = Rollout(way, OLD)
    tried = Record(serving=OLD, candidate=NEW, way=way)
    begun = start.begun(NEW)
    shared = begun if way == "direct" else begun.sharing(10)
    for state, record in (
        (start, Record(serving=OLD)),
        (start, tried),  # killed after the record, before the service
        (begun, tried),
        (shared, tried),
        (shared.withdrawn(), tried),
        (shared.withdrawn().settled(), tried),
    ):
        assert observe(live(spec_fields(state, live())), record, way) == state
    promoted = shared.promoted()
    done = Record(serving=NEW, previous=OLD)
    assert observe(live(spec_fields(promoted, live())), done, way) == promoted


@pytest.mark.parametrize("way", ["canary", "revisions"])
def test_a_promotion_that_is_not_remembered_is_seen(way):
    promoted = Rollout(way, OLD).begun(NEW).promoted()
    forgotten = Record(serving=OLD, candidate=NEW, way=way)
    assert observe(live(spec_fields(promoted, live())), forgotten, way) == promoted


def test_a_canary_says_only_what_is_different():
    begun = Rollout("canary", OLD, slot="maaaaaaaa").begun(NEW)
    assert spec_fields(begun, live()) == {
        "predictor": {"name": "maaaaaaaa", "model": {"storageUri": OLD.uri}},
        "canary": [
            {
                "trafficPercent": 0,
                "predictor": {
                    "name": "mbbbbbbbb",
                    "minReplicas": 1,
                    "model": {"name": "", "modelFormat": FORMAT, "storageUri": NEW.uri},
                },
            }
        ],
    }
    (canary,) = spec_fields(begun, live(autoscaler="keda"))["canary"]
    assert canary["predictor"]["annotations"] == {"serving.kserve.io/autoscalerClass": "none"}
    assert spec_fields(begun.promoted(), live()) == {
        "predictor": {"name": "mbbbbbbbb", "model": {"storageUri": NEW.uri}}
    }


def test_a_canary_never_has_the_name_of_what_serves():
    assert Rollout("canary", OLD, slot="mbbbbbbbb").begun(NEW).candidate_slot == "nbbbbbbbb"


def test_a_service_without_a_model_owns_nothing():
    assert spec_fields(Rollout("direct"), live()) == {}
    assert observe(live(), Record(), "direct") == Rollout("direct")


def test_the_spec_is_believed_and_not_the_record():
    by_hand = live({"predictor": {"model": {"storageUri": "s3://elsewhere/model/"}}})
    found = observe(by_hand, Record(serving=OLD, candidate=NEW, way="direct"), "direct")
    assert found == Rollout("direct", Served("s3://elsewhere/model/"))
    assert "no known version" in found.serving.label
