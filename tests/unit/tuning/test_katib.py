import re

import pytest
import yaml
from kubeflow_katib_api.models import IoK8sApiCoreV1PodTemplateSpec, V1beta1Experiment

from stocktake.bins.epoch_line import FIGURE, epoch_line
from stocktake.bins.train_settings import BinTrainSettings
from stocktake.cli import build_parser, main
from stocktake.cluster.manifests import write_manifests
from stocktake.errors import SettingsError
from stocktake.tuning.katib import experiment
from stocktake.tuning.katib_job import TrialPod
from stocktake.tuning.search_space import load
from stocktake.verbs import read_settings
from tests.kubernetes_schemas import validate

IMAGE = "registry.example.org/stocktake-train@sha256:" + "0" * 64
POD = TrialPod(image=IMAGE, claim="photos")
PLACEHOLDER = re.compile(r"\$\{trialParameters\.(.+?)\}")  # as in Katib's consts.go


@pytest.fixture
def made() -> dict:
    return experiment(load("bins", {"head": "ordinal", "freeze": True, "amp": ""}), POD)


def template(made: dict) -> dict:
    return made["spec"]["trialTemplate"]


def pod_template(made: dict) -> dict:
    return template(made)["trialSpec"]["spec"]["template"]


def container(made: dict) -> dict:
    (found,) = pod_template(made)["spec"]["containers"]
    return found


def test_it_is_an_experiment_in_katibs_own_types(made):
    assert V1beta1Experiment.from_dict(made).to_dict() == made  # what the types don't know would be lost
    pods = pod_template(made)
    assert IoK8sApiCoreV1PodTemplateSpec.from_dict(pods).to_dict() == pods


def test_an_api_server_takes_it_and_its_trial_as_they_are(made):
    assert validate(made) == []


def test_the_space_as_katib_has_it(made):
    assert made["spec"]["parameters"] == [
        {
            "name": "lr",
            "parameterType": "double",
            "feasibleSpace": {"min": "0.001", "max": "0.1", "distribution": "logUniform"},
        },
        {
            "name": "batch_size",
            "parameterType": "discrete",
            "feasibleSpace": {"list": ["32", "64", "128", "256", "512"]},
        },
        {"name": "epochs", "parameterType": "int", "feasibleSpace": {"min": "2", "max": "10", "step": "1"}},
    ]
    assert made["spec"]["objective"] == {
        "type": "maximize",
        "objectiveMetricName": "val/accuracy",
        "additionalMetricNames": ["val/rmse", "val/mae", "val/loss"],
    }


def test_a_trial_whose_node_went_away_goes_on_from_its_checkpoint_in_the_store(made):
    environment = {entry["name"]: entry.get("value") for entry in container(made)["env"]}
    assert float(environment["STOCKTAKE_CHECKPOINT_MINUTES"]) > 0
    assert "STOCKTAKE_STORE" in environment


@pytest.mark.parametrize("weights", ["", "none", "scratch"])
def test_a_training_from_scratch_stays_one(weights):
    made = experiment(load("bins", {"weights": weights}), POD)
    arguments = container(made)["args"]
    assert arguments[arguments.index("--weights") + 1] == "none"


def test_what_katib_leaves_out_is_said(caplog):
    experiment(load("bins"), POD)
    assert caplog.messages == []
    experiment(load("bins-demo"), POD)
    (photos,) = caplog.messages
    assert "is left out: trials of Katib take all photos" in photos


def test_texts_are_categories_and_steps_are_kept(write_space):
    space = load(
        write_space(
            parameters={
                "optimizer": {"choices": ["adamw", "sgd"]},
                "warmup": {"low": 0, "high": 2, "step": 0.5},
                "seed": {"low": 1, "high": 100, "log": True},
            }
        )
    )
    found = {entry["name"]: entry for entry in experiment(space, POD, trials=5)["spec"]["parameters"]}
    assert (found["optimizer"]["parameterType"], found["optimizer"]["feasibleSpace"]) == (
        "categorical",
        {"list": ["adamw", "sgd"]},
    )
    assert found["warmup"]["feasibleSpace"] == {"min": "0.0", "max": "2.0", "step": "0.5"}
    assert found["seed"]["feasibleSpace"] == {"min": "1", "max": "100", "distribution": "logUniform"}


def test_placeholders_and_parameters_are_one_to_one(made):
    """Katib's webhook refuses an experiment where they are not."""
    names = {entry["name"]: entry["reference"] for entry in template(made)["trialParameters"]}
    assert set(PLACEHOLDER.findall(yaml.safe_dump(template(made)["trialSpec"]))) == set(names)
    searched = {entry["name"] for entry in made["spec"]["parameters"]}
    assert set(names.values()) == {*searched, "${trialSpec.Name}"}


def test_the_verb_takes_the_arguments_of_a_trial(made):
    drawn = {"lr": "0.0038", "batch_size": "256", "epochs": "8", "trialName": "bins-x7f3k"}
    words = container(made)["command"] + container(made)["args"]
    words = [PLACEHOLDER.sub(lambda match: drawn[match[1]], word) for word in words]
    assert words[:1] == ["stocktake"]
    options = build_parser().parse_args(words[1:])
    assert (options.data, options.no_score) == ("/data/index.parquet", True)
    assert read_settings(options, BinTrainSettings) == BinTrainSettings(
        lr=0.0038,
        batch_size=256,
        epochs=8,
        test_batch_size=100,
        head="ordinal",
        freeze=True,
        name="bins-x7f3k",
        project="/scratch/work",
    )


def test_a_shell_does_not_change_the_command(made):
    for word in container(made)["command"] + container(made)["args"]:
        assert re.fullmatch(r"[\w./:=@+,-]+", PLACEHOLDER.sub("x", word)), word


def test_the_pod_gets_what_training_needs(made):
    found, pod = container(made), pod_template(made)["spec"]
    assert found["image"] == IMAGE
    assert found["name"] == template(made)["primaryContainerName"]
    assert found["resources"] == {
        "requests": {"cpu": "8", "memory": "32Gi"},
        "limits": {"memory": "32Gi", "nvidia.com/gpu": "1"},
    }
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in found["volumeMounts"]}
    assert mounts == {"scratch": "/scratch", "shm": "/dev/shm", "data": "/data"}
    assert volumes["shm"] == {"emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
    assert volumes["data"] == {"persistentVolumeClaim": {"claimName": "photos", "readOnly": True}}
    optional = {
        entry["name"]: next(iter(entry["valueFrom"].values()))["optional"]
        for entry in found["env"]
        if "valueFrom" in entry
    }
    assert [name for name, may_lack in optional.items() if not may_lack] == [
        "MLFLOW_TRACKING_URI",
        "STOCKTAKE_STORE",
    ]


def test_traps_of_katib(made):
    job = template(made)["trialSpec"]
    assert "name" not in job.get("metadata", {})  # Katib names it, and refuses one that has a name
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["template"]["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert container(made)["command"]  # without it Katib asks the registry for the entry point
    assert template(made)["retain"] is True
    spec = made["spec"]
    assert spec["maxFailedTrialCount"] <= spec["maxTrialCount"]
    assert spec["earlyStopping"]["algorithmSettings"] == [
        {"name": "min_trials_required", "value": "5"},
        {"name": "start_step", "value": "2"},
    ]


@pytest.mark.parametrize(("gpus", "flag"), [(0, ["--device", "cpu"]), (1, []), (2, ["--device", "0,1"])])
def test_gpus(gpus, flag):
    made = experiment(load("bins"), TrialPod(image=IMAGE, gpus=gpus))
    words = container(made)["args"]
    assert ([*words, "--device", ""][words.index("--device") :][:2] if "--device" in words else []) == flag
    assert ("nvidia.com/gpu" in container(made)["resources"]["limits"]) == bool(gpus)
    assert ("tolerations" in pod_template(made)["spec"]) == bool(gpus)


def test_runs_may_be_put_below_another(made):
    above = experiment(load("bins"), TrialPod(image=IMAGE, parent_run="abc123"))
    assert {"name": "MLFLOW_PARENT_RUN_ID", "value": "abc123"} in container(above)["env"]
    assert "MLFLOW_PARENT_RUN_ID" not in yaml.safe_dump(made)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "Bins"}, "name is 'Bins'; it must be at most 40"),
        ({"name": "b" * 41}, "it must be at most 40"),
        ({"name": "bins-"}, "name is 'bins-'"),
        (
            {"trials": 2, "workers": 3},
            "workers is 3; it must be a whole number in 1..2, the number of trials",
        ),
        ({"pod": TrialPod(image="train:latest")}, "version tag or a digest"),
        (
            {"pod": TrialPod(image=IMAGE, data="my photos/index.parquet")},
            "data: 'my photos/index.parquet' would",
        ),
        (
            {"space": load("bins", {"weights": "$(reboot)"})},
            r"fixed.weights: '\$\(reboot\)' would be changed",
        ),
    ],
)
def test_what_katib_would_refuse_or_misread(arguments, said):
    with pytest.raises(SettingsError, match=said):
        experiment(**{"space": load("bins"), "pod": POD, **arguments})


def test_a_switch_cannot_be_searched(write_space):
    space = load(write_space(parameters={"freeze": {"choices": [True, False]}}, fixed={}))
    with pytest.raises(SettingsError, match=r"parameters.freeze: a switch, which Katib can't search"):
        experiment(space, POD)


def katib_reads(log: str, names: list[str]) -> list[tuple[str, str]]:
    """What Katib's collector takes from a log: file-metricscollector.go, parseLogsInTextFormat."""
    lines = [line for line in log.split("\n") if any(name in line for name in names)]
    return [(m[1], m[2]) for line in lines for m in re.finditer(FIGURE, line) if m[1] in names]


def test_katib_finds_the_figures_that_training_prints(made):
    objective = made["spec"]["objective"]
    names = [objective["objectiveMetricName"], *objective["additionalMetricNames"]]
    metrics = {"val/accuracy": 0.4125, "val/rmse": 1.0, "val/mae": 2e-07, "val/loss": 12.5, "lr": 1e-05}
    log = f"epoch 1 of 2: val/accuracy 0.41\n{epoch_line(metrics, 1)}\ndone: val/accuracy 0.41\n"
    assert katib_reads(log, names) == [
        ("val/accuracy", "0.4125"),
        ("val/rmse", "1"),
        ("val/mae", "2e-07"),
        ("val/loss", "12.5"),
    ]
    (pattern,) = made["spec"]["metricsCollectorSpec"]["source"]["filter"]["metricsFormat"]
    assert pattern == FIGURE
    assert ";" not in pattern  # Katib joins its filters with it


def test_a_line_begins_with_its_time():
    """Else Katib gives all epochs the same time, and which is the last is chance."""
    line = epoch_line({"val/loss": 1}, 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z epoch=3 val/loss=1", line)


def test_the_verb_writes_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_TRAIN_IMAGE", IMAGE)
    path = tmp_path / "made" / "search.yaml"
    arguments = [
        "--data",
        "/data/index.parquet",
        "--claim",
        "photos",
        "--set",
        "img=160",
        "--katib",
        str(path),
    ]
    assert main(["bins", "search", *arguments, "--trials", "12", "--workers", "2", "--study", "night"]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    expected = experiment(load("bins", {"img": 160}), POD, "night", trials=12, workers=2)
    assert yaml.safe_load(path.read_text()) == expected


def test_a_file_that_cannot_be_written(made, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="file"):
        write_manifests(tmp_path / "file" / "search.yaml", made)
