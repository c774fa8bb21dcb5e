"""The Role of our pipelines, against the one list of what their steps may have to do."""

from pathlib import Path

import yaml

from stocktake.cluster.rights import TO_DEPLOY, TO_SEARCH, TO_SEE_LABELS, TO_TRAIN, Right

RBAC = Path(__file__).parents[2] / "manifests/pipelines/rbac.yaml"


def test_the_role_gives_what_steps_do_and_nothing_else():
    role, binding = yaml.safe_load_all(RBAC.read_text())
    given = {
        Right(verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert given == {*TO_DEPLOY, *TO_SEARCH, *TO_TRAIN, TO_SEE_LABELS}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["pipeline-runner"]
