"""Values that cannot work are refused before anything is made, each with a line that says what to do."""

import re

import pytest
import yaml
from helm_python import HelmError

from charts.readme import renewed
from tests.platform_chart import CHART, profile, render

CREATE = "kubectl --namespace stocktake create secret generic"
OPENSSL = '"$(openssl rand -hex 24)"'


def refusal(values, name="platform"):
    with pytest.raises(HelmError) as refused:
        render(values, name)
    return str(refused.value)


@pytest.mark.parametrize(
    ("field", "command"),
    [
        (
            "mlflow.database.existingSecret",
            f"{CREATE} platform-postgresql --from-literal=password={OPENSSL}",
        ),
        (
            "postgresql.gateway.existingSecret",
            f"{CREATE} platform-gateway --from-literal=password={OPENSSL}",
        ),
        (
            "objectStore.existingSecret",
            f"{CREATE} s3-credentials "
            f"--from-literal=AWS_ACCESS_KEY_ID={OPENSSL} --from-literal=AWS_SECRET_ACCESS_KEY={OPENSSL}",
        ),
        (
            "redis.existingSecret",
            f"{CREATE} platform-redis --from-literal=password={OPENSSL}",
        ),
    ],
)
def test_a_secret_that_is_not_named_comes_with_the_command_that_makes_it(field, command):
    assert f"{field} is empty: make a Secret with {command}, then set {field}=" in refusal({})


def test_nobody_makes_up_the_password_of_your_own_server():
    lines = refusal(profile("external", objectStore__existingSecret="", mlflow__database__existingSecret=""))
    assert "openssl" not in lines
    assert "--from-literal=password=…" in lines
    demo = refusal(profile("external", generateSecrets=True, objectStore__existingSecret=""))
    assert "objectStore.existingSecret is empty" in demo


IMPOSSIBLE = {
    "tag latest": ({"redis__image__tag": "latest"}, "redis.image.tag is latest"),
    "no tag": ({"mlflow__image__tag": ""}, "mlflow.image has neither tag nor digest"),
    "two databases": ({"mlflow__database__host": "db.example.com"}, "one PostgreSQL too many"),
    "no database": ({"postgresql__enabled": False}, "MLflow has no database"),
    "two stores": ({"objectStore__endpoint": "http://s3.example.com"}, "one store too many"),
    "identity": ({"objectStore__podIdentity": True}, "SeaweedFS knows no pod identities"),
    "ingress": (
        {"mlflow__ingress__enabled": True},
        "mlflow.host is empty and mlflow.ingress.enabled is true",
    ),
    "route": (
        {"mlflow__httpRoute__enabled": True},
        "mlflow.host is empty and mlflow.httpRoute.enabled is true",
    ),
    "gateway": ({"mlflow__httpRoute__enabled": True}, "mlflow.httpRoute.parentRefs is empty"),
    "closed": (
        {"mlflow__ingress__enabled": True, "mlflow__host": "m.example.com"},
        "mlflow.routeNamespace is empty and mlflow.ingress.enabled is true",
    ),
}


@pytest.mark.parametrize(("overrides", "line"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_values_that_contradict_each_other_are_refused(overrides, line):
    assert line in refusal(profile("in-cluster", **overrides))


def test_all_that_is_wrong_is_said_at_once():
    lines = refusal(profile("in-cluster", redis__existingSecret="", mlflow__image__tag="latest"))
    assert "redis.existingSecret is empty" in lines
    assert "mlflow.image.tag is latest" in lines


MISTYPED = {
    "unknown component": ({"minio__enabled": True}, "minio"),
    "unknown field": ({"mlflow__replica": 2}, "replica"),
    "unknown deep field": ({"mlflow__database__password": "hunter2"}, "password"),
    "text for a number": ({"mlflow__replicas": "two"}, "/mlflow/replicas"),
    "no server": ({"mlflow__replicas": 0}, "/mlflow/replicas"),
    "size": ({"redis__storage__size": "4 GB"}, "/redis/storage/size"),
    "memory": ({"redis__maxMemory": "1Gi"}, "/redis/maxMemory"),
    "endpoint": ({"objectStore__endpoint": "seaweedfs:8333"}, "/objectStore/endpoint"),
    "bucket": ({"objectStore__buckets": ["My_Bucket"]}, "/objectStore/buckets/0"),
    "digest": ({"redis__image__digest": "sha256:abc"}, "/redis/image/digest"),
    "two hosts in one": ({"mlflow__allowedHosts": ["a,b"]}, "/mlflow/allowedHosts/0"),
    "root": ({"postgresql__user": 0}, "/postgresql/user"),
    "host with a scheme": ({"mlflow__host": "https://mlflow.example.com"}, "/mlflow/host"),
}


@pytest.mark.parametrize(("overrides", "place"), MISTYPED.values(), ids=MISTYPED.keys())
def test_values_that_do_not_fit_the_schema_name_their_place(overrides, place):
    assert place in refusal(profile("in-cluster", **overrides))


def test_a_release_name_leaves_room_for_those_of_pods():
    assert "names of pods leave room for 39" in refusal(profile("in-cluster"), name="a" * 40)
    longest = render(profile("in-cluster", mlflow__replicas=2), "a" * 39)
    assert max(len(each["metadata"]["name"]) for each in longest) <= 63
    sets = [each["metadata"]["name"] for each in longest if each["kind"] == "StatefulSet"]
    assert max(map(len, sets)) <= 52  # their pods carry the name and a hash in a label


def test_the_readme_is_what_the_values_say():
    page = (CHART / "README.md").read_text()
    assert renewed(page) == page, "run: python -m charts.readme"


def test_every_value_has_its_line_in_the_readme():
    rows = re.findall(r"^\| `([\w.]+)` \|", (CHART / "README.md").read_text(), re.MULTILINE)

    def leaves(value, path=()):
        if isinstance(value, dict) and value and ".".join(path) not in rows:
            for key, inner in value.items():
                yield from leaves(inner, (*path, key))
        else:
            yield ".".join(path)

    assert sorted(leaves(yaml.safe_load((CHART / "values.yaml").read_text()))) == sorted(rows)
