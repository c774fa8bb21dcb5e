import pytest
import yaml

from stocktake.bins.train_settings import BinTrainSettings
from stocktake.errors import SettingsError
from stocktake.tuning.search_space import Choices, Range, load, names

LR = {"low": 0.001, "high": 0.1, "log": True}


@pytest.fixture
def space_file(tmp_path):
    def write(**sections):
        content = {"metric": "val/accuracy", "goal": "maximize", "parameters": {"lr": LR}}
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({**content, **sections}))
        return path

    return write


def test_what_the_project_grew_from_is_searched_by_default():
    space = load("bins")
    assert space.parameters == {
        "lr": Range(low=0.001, high=0.1, log=True),
        "batch_size": Choices(choices=(32, 64, 128, 256, 512)),
        "epochs": Range(low=2, high=10),
    }
    assert (space.metric, space.goal, space.fixed) == ("val/accuracy", "maximize", {"test_batch_size": 100})


@pytest.mark.parametrize("name", names())
def test_ours_make_settings_at_both_ends(name):
    space = load(name)
    for end in (0, -1):
        values = {key: parameter.values[end] for key, parameter in space.parameters.items()}
        settings = space.settings(values, name="trial")
        assert (settings.lr, settings.epochs) == (values["lr"], values["epochs"])
        assert settings.test_batch_size == 100


def test_numbers_get_the_type_of_their_setting(space_file):
    path = space_file(
        parameters={"lr": {"low": "1e-3", "high": 1}, "epochs": {"low": 2, "high": 10, "step": 4}},
        fixed={"warmup": 2},
    )
    space = load(path)
    assert repr(space.parameters["lr"].values) == "[0.001, 1.0]"
    assert repr(space.parameters["epochs"]) == "Range(low=2, high=10, log=False, step=4)"
    assert (space.is_whole("lr"), space.is_whole("epochs")) == (False, True)
    assert repr(space.fixed) == "{'warmup': 2.0}"


def test_what_the_caller_fixes_wins_over_the_file(space_file):
    space = load(space_file(fixed={"img": 64, "head": "ordinal"}), {"img": 96})
    settings = space.settings({"lr": 0.01}, name="trial-003")
    assert settings == BinTrainSettings(img=96, head="ordinal", lr=0.01, name="trial-003")


def test_the_identity_leaves_out_what_does_not_change_a_trial(space_file):
    one = load(space_file(trials=3, pruning={"startup_trials": 9}))
    assert one.identity == load(space_file()).identity
    assert one.identity != load(space_file(photos=100)).identity
    assert one.identity != load(space_file(), {"img": 96}).identity


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"parameters": {"lr": {**LR, "low": 0}}}, "parameters.lr: low is 0; a logarithmic range must start"),
        ({"parameters": {"lr": {"low": 0, "high": 0.1}}}, "parameters.lr: lr is 0.0; it must be over 0"),
        ({"parameters": {"lr": {"low": 0.1, "high": 0.01}}}, "parameters.lr: low is 0.1 and high is 0.01"),
        ({"parameters": {"lr": {"low": 0.1, "high": 0.1}}}, "parameters.lr: low is 0.1 and high is 0.1"),
        ({"parameters": {"lr": {**LR, "step": 0.1}}}, "parameters.lr: log and step exclude each other"),
        ({"parameters": {"lr": {"low": 1, "high": 2, "step": 0}}}, "parameters.lr: step is 0; it must be"),
        ({"parameters": {"lr": {"low": "x", "high": 1}}}, "parameters.lr.low: must be a number, found 'x'"),
        ({"parameters": {"lr": {"low": float("nan"), "high": 1}}}, "parameters.lr.low: must be a number"),
        ({"parameters": {"lr": {"low": 0.1}}}, "parameters.lr.high: is missing"),
        ({"parameters": {"lr": {**LR, "lg": 1}}}, "parameters.lr.lg: is not known here; leave it out"),
        ({"parameters": {"lr": 0.1}}, "parameters.lr: must be {low: ..., high: ...} or {choices: [...]}"),
        (
            {"parameters": {"epochs": {"low": 1.5, "high": 9}}},
            "parameters.epochs: found 1.5; epochs takes int",
        ),
        (
            {"parameters": {"epochs": {"low": 1, "high": 9, "step": 0.5}}},
            "parameters.epochs: found 0.5; epochs takes int",
        ),
        ({"parameters": {"batch_size": {"choices": []}}}, "parameters.batch_size: choices is empty"),
        (
            {"parameters": {"batch_size": {"choices": [8, 8]}}},
            "parameters.batch_size: choices has a value twice",
        ),
        (
            {"parameters": {"batch_size": {"choices": [8, 0]}}},
            "parameters.batch_size: batch_size is 0; it must",
        ),
        ({"parameters": {"batch_size": {"choices": [8, [9]]}}}, "parameters.batch_size.choices.1: must be a"),
        ({"parameters": {"optimizer": {"choices": ["lion"]}}}, "parameters.optimizer: optimizer is 'lion'"),
        ({"parameters": {"freeze": {"low": 0, "high": 1}}}, "parameters.freeze: found 0; freeze takes bool"),
        ({"parameters": {"learning_rate": LR}}, "parameters.learning_rate: no setting that can stand here"),
        ({"parameters": {"name": {"choices": ["a"]}}}, "parameters.name: no setting that can stand here"),
        ({"parameters": {"test_batch_size": {"choices": [1]}}}, "parameters.test_batch_size: no setting"),
        ({"parameters": {}}, "parameters: is empty; give at least one"),
        ({"parameters": ["lr"]}, "parameters: must be names with values"),
        ({"fixed": {"lr": 0.1}}, "fixed.lr: it is searched, too"),
        ({"fixed": {"device": "cpu"}}, "fixed.device: no setting that can stand here"),
        ({"fixed": {"img": 7}}, "fixed: img is 7; it must be"),
        ({"fixed": {"freeze": True, "weights": "none"}}, "fixed: freeze is True; it must be"),
        ({"fixed": 3}, "fixed: must be names with values, found 3"),
        ({"refit": {"epochs": 0}}, "refit: epochs is 0; it must be"),
        ({"metric": "accuracy"}, "metric: 'accuracy' is not measured; take one of val/accuracy"),
        ({"metric": "val/rmse"}, "goal: it is maximize, but of val/rmse one wants to minimize"),
        ({"goal": "best"}, "goal: Input should be 'maximize' or 'minimize', found 'best'"),
        ({"trials": 0}, "trials: Input should be greater than or equal to 1, found 0"),
        ({"photos": 0}, "photos: Input should be greater than or equal to 1, found 0"),
        ({"pruning": {"warmup_epochs": -1}}, "pruning.warmup_epochs: Input should be greater"),
        ({"budget": 3}, "budget: is not known here; leave it out, found 3"),
    ],
)
def test_an_impossible_space_is_one_error_that_names_file_and_field(sections, said, space_file):
    path = space_file(**sections)
    with pytest.raises(SettingsError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: {said}")
    assert str(error.value).count(str(path)) == 1


def test_a_setting_given_beside_the_file_is_named_as_such():
    with pytest.raises(SettingsError, match=r"bins-demo.yaml, with img=abc: fixed.img: found 'abc'"):
        load("bins-demo", {"img": "abc"})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("swans", "swans: no such search space; give a .yaml file or one of bins, bins-demo"),
        ("swans.yaml", "swans.yaml: there is no such file"),
    ],
)
def test_a_space_that_is_not_there(source, said):
    with pytest.raises(SettingsError, match=said):
        load(source)
