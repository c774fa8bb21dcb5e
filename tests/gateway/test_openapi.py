"""What /api/openapi.json promises, held against the gateway with requests that are made up from it."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks

from benchmarks.gateway.made_up_requests import NOT_OURS
from serving.gateway.app import describe_app
from serving.gateway.openapi import OPEN
from tests.gateway_thread import GatewayThread, shelf_photo
from tests.redis_server import RedisServer

load_all_checks()
OURS = [check for check in CHECKS.get_all() if check.__name__ not in NOT_OURS]

schema = schemathesis.openapi.from_dict(describe_app().openapi())
bounded = settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, predictor_url):
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    folder, place = (
        tmp_path_factory.mktemp("gateway"),
        {"shelves_url": predictor_url, "bins_url": predictor_url},
    )
    gateway = GatewayThread(folder, redis=redis.url, requests_per_minute=10**6, **place).start()
    yield gateway
    gateway.stop()
    redis.kill()


@pytest.fixture(scope="module")
def photo(gateway):
    with gateway.client() as client:
        files = {"photo": ("a.png", shelf_photo(), "image/png")}
        return client.post("/api/photos", data={"task": "shelves"}, files=files).json()


def check(case, gateway, checks=OURS):
    headers = {"Authorization": f"Bearer {gateway.tokens['admin']}"}
    response = case.call(base_url=gateway.url, headers=headers)
    case.validate_response(response, checks=checks)
    if response.status_code >= 400 and case.method != "HEAD" and case.path != "/readyz":
        assert list(response.json()) == ["error"]


@pytest.mark.long
@schema.parametrize()
@bounded
def test_made_up_requests(case, gateway):
    check(case, gateway)


@pytest.mark.long
@schema.include(method="GET", path_regex="photos/{photo_id}").parametrize()
@bounded
def test_made_up_requests_for_a_photo_that_is_there(case, gateway, photo):
    case.path_parameters |= {"photo_id": photo["id"]}
    check(case, gateway, [each for each in OURS if each.__name__ != "negative_data_rejection"])


@pytest.mark.long
def test_the_gateway_is_well_after_all_that(gateway):
    assert httpx.get(f"{gateway.url}/readyz").json()["ready"] is True


def test_a_field_that_may_be_left_empty_says_so():
    job = describe_app().openapi()["paths"]["/api/jobs"]["post"]["requestBody"]["content"]
    webhook = job["multipart/form-data"]["schema"]["properties"]["webhook"]
    assert [each.get("const", each["type"]) for each in webhook["anyOf"]] == ["string", "null", ""]


def test_every_route_says_what_it_needs():
    for path, operations in describe_app().openapi()["paths"].items():
        for method, operation in operations.items():
            assert operation["tags"], path
            assert operation["description"], path
            assert "422" not in operation["responses"]
            assert (path in OPEN) != ("security" in operation)
            if method == "post" and path in ("/api/photos", "/api/jobs"):
                assert "multipart/form-data" in operation["requestBody"]["content"]
