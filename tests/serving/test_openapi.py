"""What /openapi.json promises, held against the server with requests that are made up from it."""

import httpx
import jsonschema
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from kserve import ModelRepository
from kserve.protocol.dataplane import DataPlane
from schemathesis.checks import CHECKS, load_all_checks

from serving.predictors.errors import ANSWERS
from serving.predictors.requests import Limits
from serving.predictors.rest import add_routes
from tests.serving.light_server import NAME, VERSION

load_all_checks()
# Valid by its schema is not yet a photo; the others are for APIs with logins and with state.
NOT_OURS = {
    "positive_data_acceptance",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
}
OURS = [check for check in CHECKS.get_all() if check.__name__ not in NOT_OURS]


def described():
    """What an app with our routes says of itself."""
    app = FastAPI()
    add_routes(app, DataPlane(ModelRepository()), Limits())
    return app.openapi()


schema = schemathesis.openapi.from_dict(described())
bounded = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def check(case, light_server):
    response = case.call(base_url=light_server.url)
    case.validate_response(response, checks=OURS)
    if response.status_code >= 400 and case.method != "HEAD":
        assert list(response.json()) == ["error"]


@schema.parametrize()
@bounded
def test_made_up_requests(case, light_server):
    check(case, light_server)


@schema.parametrize()
@bounded
def test_made_up_requests_to_what_there_is(case, light_server):
    names = {"model_name": NAME, "model_version": VERSION}
    case.path_parameters |= {name: names[name] for name in case.path_parameters}
    check(case, light_server)


def test_the_server_is_well_after_all_that(light_server):
    assert httpx.get(f"{light_server.url}/v2/health/ready").json() == {"ready": True}
    assert not light_server.model.admission.taken


def test_every_route_of_ours_is_described(light_server):
    assert httpx.get(f"{light_server.url}/openapi.json").json() == described()
    paths = described()["paths"]

    model, version = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"
    post = {f"{model}/infer", f"{version}/infer", "/v1/models/{model_name}:predict"}
    get = {"/", "/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v1/models", "/v2/models"}
    get |= {"/v1/models/{model_name}", model, version, f"{model}/ready", f"{version}/ready"}
    assert {path: list(operations) for path, operations in paths.items()} == {
        path: ["post"] if path in post else ["get"] for path in get | post
    }


def test_every_error_is_described_as_it_is():
    """The codes of the table, but for those of a token and of what is not offered, are those of inference."""
    infer = described()["paths"]["/v2/models/{model_name}/infer"]["post"]["responses"]

    codes = {str(int(answer.http)) for answer in ANSWERS.values()} - {"401", "501"}
    assert infer.keys() == codes | {"200"}
    for code in codes:
        ref = infer[code]["content"]["application/json"]["schema"]["$ref"]
        error = described()["components"]["schemas"][ref.rpartition("/")[2]]
        jsonschema.validate({"error": "what was wrong"}, error)
        for other in ({}, {"error": 7}, {"error": "a", "detail": "b"}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(other, error)
