"""Guards on what the cluster gets."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.catalogue import PIPELINES
from pipelines.compiling import Limits, compile_all, compile_manifest
from stocktake.cluster.images import check_image
from stocktake.cluster.pod_size import BIN_TRAINING, SEARCH, SHELF_TRAINING
from stocktake.code_version import code_version
from stocktake.errors import SettingsError
from tests.kubernetes_schemas import validate
from tests.pods import violations

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(
    path for path in (ROOT / "components").glob("*.py") if path.name not in ("__init__.py", "image.py")
)
BODY_LINES = 20


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("compiled")
    written = compile_all([pipeline.definition for pipeline in PIPELINES.values()], out)
    assert len(written) == 2 * len(PIPELINES)
    return out


@pytest.fixture(scope="module", params=[pipeline.definition.name for pipeline in PIPELINES.values()])
def documents(request, compiled) -> tuple[dict, dict]:
    spec, platform = yaml.safe_load_all((compiled / f"{request.param}.yaml").read_text())
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def containers(spec: dict) -> dict[str, dict]:
    return {name: executor["container"] for name, executor in spec["deploymentSpec"]["executors"].items()}


def tasks(spec: dict) -> dict[str, dict]:
    """The tasks that run a container, those in loops too."""
    dags = [part["dag"] for part in (spec["root"], *spec["components"].values()) if "dag" in part]
    found = {name: task for dag in dags for name, task in dag["tasks"].items()}
    return {name: task for name, task in found.items() if f"exec-{name}" in containers(spec)}


def test_nothing_is_installed_at_run_time(documents):
    for name, container in containers(documents[0]).items():
        words = " ".join(container["command"] + container.get("args", []))
        assert "pip" not in re.findall(r"\w+", words), name


def test_every_step_runs_in_the_one_image_named_by_tag_or_digest(documents):
    images = {container["image"] for container in containers(documents[0]).values()}
    assert len(images) == 1
    check_image(images.pop())


def test_the_image_comes_from_one_place(tmp_path):
    digest = "registry.example.org/stocktake-train@sha256:" + "0" * 64
    command = [sys.executable, "-m", "pipelines", "compile", "--out", str(tmp_path)]
    environment = {**os.environ, "STOCKTAKE_TRAIN_IMAGE": digest}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    for path in tmp_path.rglob("*.yaml"):
        assert set(re.findall(r"image: (\S+)", path.read_text())) == {digest}


@pytest.mark.parametrize(
    "image", ["stocktake-train", "host:5000/train", "train:latest", "host:5000/train:latest"]
)
def test_an_image_that_moves_is_refused(image):
    with pytest.raises(SettingsError, match="version tag or a digest"):
        check_image(image)


def test_every_step_has_resources_retries_timeout_and_the_services(documents):
    spec, kubernetes = documents
    for name, container in containers(spec).items():
        task = tasks(spec)[name.removeprefix("exec-")]
        assert container["resources"]["resourceMemoryLimit"], name
        assert container["resources"]["resourceCpuRequest"], name
        assert task["retryPolicy"]["maxRetryCount"] >= 1, name
        assert task["retryPolicy"]["backoffDuration"] == ("150s" if name == "exec-deploy-model" else "60s"), (
            name
        )
        assert int(kubernetes[name]["activeDeadlineSeconds"]) >= 3600, name
        required = [entry for entry in kubernetes[name]["configMapAsEnv"] if not entry.get("optional")]
        assert {key["envVar"] for entry in required for key in entry["keyToEnv"]} == {
            "MLFLOW_TRACKING_URI",
            "STOCKTAKE_STORE",
        }
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert environment["STOCKTAKE_CHECKPOINT_MINUTES"] == "5", name
        assert all(entry["configMapName"] == "endpoints" for entry in kubernetes[name]["configMapAsEnv"])
        assert all(entry["optional"] for entry in kubernetes[name]["secretAsEnv"])


def test_every_step_may_run_where_pods_are_restricted(documents):
    """With what Kubeflow Pipelines says itself of the pod and the container of a step."""
    spec, kubernetes = documents
    shared = {"seccompProfile": {"type": "RuntimeDefault"}}
    own = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for name in containers(spec):
        step = {"name": name, "securityContext": {**own, **kubernetes[name].get("securityContext", {})}}
        assert violations({"securityContext": shared, "containers": [step]}) == []


def test_the_source_is_read_in_as_many_pods_as_are_asked_for(documents):
    spec, _ = documents
    root = spec["root"]["dag"]["tasks"]
    (loop,) = [task for task in root.values() if "parameterIterator" in task]
    (ingest,) = spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]
    assert ingest in ("ingest-bins", "ingest-shelves")
    (plan,) = loop["dependentTasks"]
    assert root[plan]["inputs"]["parameters"]["pods"] == {"componentInputParameter": "pods"}
    assert spec["root"]["inputDefinitions"]["parameters"]["pods"]["defaultValue"] == 1
    (merge,) = [task for name, task in root.items() if name.startswith("merge-")]
    (parts,) = merge["inputs"]["artifacts"].values()
    assert root[parts["taskOutputArtifact"]["producerTask"]] is loop


def test_training_asks_for_gpus_and_shared_memory(documents):
    spec, kubernetes = documents
    trainings = [name for name in containers(spec) if name.startswith(("exec-train-", "exec-search-"))]
    assert sum(name.startswith("exec-train-") for name in trainings) == 1
    for name in trainings:
        check_training(spec, kubernetes, name)


def check_training(spec: dict, kubernetes: dict, name: str) -> None:
    resources = containers(spec)[name]["resources"]
    accelerator = resources["accelerator"]
    assert "gpu_type" in accelerator["resourceType"]
    plan, _ = planned(spec, name, accelerator["resourceCount"])
    assert plan["inputs"]["parameters"]["gpus"] == {"componentInputParameter": "gpus"}
    (shm,) = [mount for mount in kubernetes[name]["emptyDirMounts"] if mount["mountPath"] == "/dev/shm"]
    assert shm["medium"] == "Memory"
    own = {"exec-train-bin-counter": BIN_TRAINING, "exec-train-shelf-detector": SHELF_TRAINING}
    assert planned(spec, name, resources["resourceMemoryLimit"])[1] in ("training_memory", "search_memory")
    assert planned(spec, name, resources["resourceCpuRequest"])[1] in ("training_cpu", "search_cpu")
    memory = int(own.get(name, SEARCH).memory.removesuffix("Gi"))
    assert int(shm["sizeLimit"].removesuffix("Gi")) < memory  # what lies in it counts towards the limit


def planned(spec: dict, name: str, placeholder: str) -> tuple[dict, str]:
    """The task and its output that a resource of a step comes from; Kubeflow's driver takes text only."""
    inputs = spec["root"]["dag"]["tasks"][name.removeprefix("exec-")]["inputs"]["parameters"]
    (key,) = re.fullmatch(r"\{\{\$\.inputs\.parameters\['(.*)'\]\}\}", placeholder).groups()
    source = inputs[key]["taskOutputParameter"]
    made = spec["components"][f"comp-{source['producerTask']}"]["outputDefinitions"]["parameters"]
    assert made[source["outputParameterKey"]]["parameterType"] == "STRING"
    return spec["root"]["dag"]["tasks"][source["producerTask"]], source["outputParameterKey"]


def test_nodes_with_gpus_are_chosen_by_parameters(documents):
    spec, kubernetes = documents
    declared = spec["root"]["inputDefinitions"]["parameters"]
    assert (declared["node_selector"]["defaultValue"], declared["tolerations"]["defaultValue"]) == ({}, [])
    for name in (name for name in kubernetes if name.startswith(("exec-train-", "exec-search-"))):
        found = kubernetes[name]
        assert {"tolerationJson": {"componentInputParameter": "tolerations"}} in found["tolerations"]
        labels = found["nodeSelector"]["nodeSelectorJson"]  # the plan's: others may do the work of the step
        plan = spec["root"]["dag"]["tasks"][labels["taskOutputParameter"]["producerTask"]]
        assert plan["inputs"]["parameters"]["node_selector"] == {"componentInputParameter": "node_selector"}


def test_steps_that_start_pods_know_their_image(documents):
    spec, _ = documents
    for name, container in containers(spec).items():
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        starts_pods = name.startswith(("exec-train-", "exec-search-"))
        assert environment.get("STOCKTAKE_TRAIN_IMAGE") == (container["image"] if starts_pods else None), name


def test_a_trainjob_is_asked_for_by_a_parameter(compiled):
    spec, _ = yaml.safe_load_all((compiled / "shelf-detector.yaml").read_text())
    assert spec["root"]["inputDefinitions"]["parameters"]["trainjob"]["defaultValue"] is False
    for name in ("plan-shelves", "train-shelf-detector"):
        given = spec["root"]["dag"]["tasks"][name]["inputs"]["parameters"]
        assert given["trainjob"] == {"componentInputParameter": "trainjob"}


def test_limits_are_set_when_compiling(tmp_path):
    limits = Limits(retries=5, hours={"train-bin-counter": 24}, cache_claim="photos")
    compile_all([pipeline.definition for pipeline in PIPELINES.values()], tmp_path, limits)
    spec, platform = yaml.safe_load_all((tmp_path / "bin-counter.yaml").read_text())
    _, version = yaml.safe_load_all((tmp_path / "kubernetes/bin-counter.yaml").read_text())
    assert (version["spec"]["pipelineSpec"], version["spec"]["platformSpec"]) == (spec, platform)
    assert {task["retryPolicy"]["maxRetryCount"] for task in tasks(spec).values()} == {5}
    found = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert found["exec-train-bin-counter"]["activeDeadlineSeconds"] == str(24 * 3600)
    assert found["exec-prepare-bins"]["activeDeadlineSeconds"] == "3600"
    for name, container in containers(spec).items():
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert (environment["STOCKTAKE_CACHE"], environment["STOCKTAKE_CACHE_CLAIM"]) == ("/cache", "photos")
        (mount,) = found[name]["pvcMount"]
        assert mount == {"mountPath": "/cache", "pvcNameParameter": {"runtimeValue": {"constant": "photos"}}}


def test_a_version_is_named_after_all_that_is_in_it(tmp_path):
    """What a PipelineVersion says can't be changed: another content needs another name."""
    definition = PIPELINES["bin_counter"].definition
    limits = (None, None, Limits(retries=5), Limits(hours={"merge-bins": 5}), Limits(cache_claim="photos"))
    names = []
    for number, each in enumerate(limits):
        path = compile_manifest(definition, tmp_path / f"{number}.yaml", each)
        _, version = yaml.safe_load_all(path.read_text())
        names.append(version["metadata"]["name"])
    assert names[0] == names[1]
    assert len(set(names)) == len(limits) - 1
    assert all(re.fullmatch(r"bin-counter-[0-9a-f]{8}", name) for name in names)


def test_limits_of_a_step_that_there_is_not(tmp_path):
    with pytest.raises(SettingsError, match=r"the step of --hours is 'train'; .*'train-bin-counter'"):
        compile_all([PIPELINES["bin_counter"].definition], tmp_path, Limits(hours={"train": 2}))
    with pytest.raises(SettingsError, match="hours of merge-bins is 0"):
        Limits(hours={"merge-bins": 0})


def test_cached_steps_have_the_code_and_the_content_of_their_inputs_in_the_key(documents):
    spec, _ = documents
    for name, task in tasks(spec).items():
        parameters = task["inputs"].get("parameters", {})
        if task["cachingOptions"].get("enableCache"):
            assert parameters["code_version"] == {"componentInputParameter": "code_version"}, name
            assert "taskOutputParameter" in parameters["digest"], name
        else:
            # sources, champions and clusters change
            assert name.startswith(("plan-", "ingest-", "merge-", "evaluate-", "promote-", "deploy-")), name


def test_a_champion_is_deployed_where_that_is_asked_for(documents):
    spec, kubernetes = documents
    assert "deploy-model" in tasks(spec)
    (condition,) = [
        task for name, task in spec["root"]["dag"]["tasks"].items() if name.startswith("condition")
    ]
    assert "pipelinechannel--deploy'] == true" in condition["triggerPolicy"]["condition"]
    assert spec["root"]["inputDefinitions"]["parameters"]["deploy"]["defaultValue"] is False
    assert "promote-model" in condition["dependentTasks"]
    options = spec["components"][condition["componentRef"]["name"]]["dag"]["tasks"]["deploy-model"]["inputs"]
    assert "deploy_options" in str(options["parameters"]["options"])
    (token,) = [each for each in kubernetes["exec-deploy-model"]["secretAsEnv"] if "token" in str(each)]
    assert token["keyToEnv"] == [{"envVar": "STOCKTAKE_PREDICTOR_TOKEN", "secretKey": "token"}]


def test_what_the_ui_shows(documents):
    spec, _ = documents
    kinds = {
        name: {
            output["artifactType"]["schemaTitle"]
            for output in part.get("outputDefinitions", {}).get("artifacts", {}).values()
        }
        for name, part in spec["components"].items()
    }
    shown = ("merge", "prepare", "search", "evaluate")
    for name, found in kinds.items():
        if name.removeprefix("comp-").startswith(shown):
            assert {"system.Metrics", "system.HTML", "system.Markdown"} <= found, name


def test_the_default_of_code_version_is_this_code(documents):
    inputs = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert inputs["code_version"]["defaultValue"] == code_version()


def test_parameters_are_described(documents):
    inputs = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert [name for name, entry in inputs.items() if not entry.get("description")] == []


def test_compiling_twice_gives_the_same_files(compiled, tmp_path):
    for path in compile_all([pipeline.definition for pipeline in PIPELINES.values()], tmp_path):
        assert path.read_text() == (compiled / path.relative_to(tmp_path)).read_text()


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]


def body_without_docstring(function: ast.FunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) else function.body


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_components_are_thin(path):
    assert functions(path)
    for function in functions(path):
        body = body_without_docstring(function)
        assert body[-1].end_lineno - body[0].lineno + 1 <= BODY_LINES, function.name


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_bodies_import_the_library_and_the_standard_library_only(path):
    for function in functions(path):
        for node in ast.walk(function):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                top = module.partition(".")[0]
                assert top == "stocktake" or top in sys.stdlib_module_names, f"{function.name}: {module}"


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.stem)
def test_modules_import_no_library_at_the_top(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert module in ("typing", "kfp", "components.image"), module


def manifests(compiled: Path) -> list[dict]:
    return [
        document
        for path in sorted((compiled / "kubernetes").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


def test_manifests_are_a_pipeline_and_its_version(compiled):
    found = manifests(compiled)
    assert [document["kind"] for document in found] == ["Pipeline", "PipelineVersion"] * len(PIPELINES)
    for pipeline, version in zip(found[::2], found[1::2], strict=True):
        assert pipeline["apiVersion"] == version["apiVersion"] == "pipelines.kubeflow.org/v2beta1"
        assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"]
        assert version["spec"]["displayName"] == code_version()
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", version["metadata"]["name"])
        assert version["spec"]["platformSpec"]


def test_manifests_keep_to_the_custom_resource_definitions(compiled):
    assert [fault for document in manifests(compiled) for fault in validate(document)] == []
