import json
import math

import pytest

from stocktake.monitoring.presets import OURS, PRESETS, SEED
from stocktake.monitoring.profiler_rules import ProfilerReport
from stocktake.monitoring.recording import Recording
from stocktake.monitoring.results import RuleResult, State, plain, summary

FOUND = RuleResult(
    "LowGPUUtilization",
    State.ISSUES,
    "gpu0 under-used",
    where="gpu0 after 90 s",
    violations=464,
    datapoints=28766,
    details={"gpu0": {"gpu_95": 35.0}},
    parameters={"threshold_p95": 70, "threshold_p5": 10},
)


def test_the_shape_of_a_profiler_report() -> None:
    assert FOUND.as_profiler_report() == {
        "RuleTriggered": 464,
        "Violations": 464,
        "Details": {"gpu0": {"gpu_95": 35.0}},
        "Datapoints": 28766,
        "RuleParameters": "threshold_p95:70\nthreshold_p5:10",
        "State": "IssuesFound",
        "Reason": "gpu0 under-used",
        "Where": "gpu0 after 90 s",
    }


def test_violations_that_are_let_pass_trigger_nothing() -> None:
    quiet = RuleResult("StepOutlier", State.NO_ISSUES, "3 of 90", violations=3)
    assert (quiet.as_profiler_report()["RuleTriggered"], quiet.as_profiler_report()["Violations"]) == (0, 3)
    assert not quiet.fired
    assert FOUND.fired


def test_the_summary_has_a_line_per_rule() -> None:
    results = [
        RuleResult("Overfit", State.NO_ISSUES, "val loss is close"),
        RuleResult("Overtraining", State.INSUFFICIENT, "3 epochs so far, 6 are needed"),
        FOUND,
    ]
    assert summary(results).splitlines() == [
        "Overfit: NoIssuesFound",
        "Overtraining: InsufficientData (3 epochs so far, 6 are needed)",
        "LowGPUUtilization: IssuesFound (gpu0 under-used)",
    ]


def test_the_rules_come_in_the_order_of_the_seed_s_summary() -> None:
    names = [
        "VanishingGradient",
        "Overfit",
        "Overtraining",
        "PoorWeightInitialization",
        "LossNotDecreasing",
        "LowGPUUtilization",
        "ProfilerReport",
    ]
    for preset in PRESETS.values():
        assert [rule.name for rule in preset] == names


def test_published_parameters() -> None:
    """The values of SageMaker's developer guide and of sagemaker-debugger-rulesconfig."""
    by_name = {rule.name: vars(rule) for rule in SEED}
    members = {member.name: vars(member) for member in by_name["ProfilerReport"]["members"]}
    assert by_name["VanishingGradient"]["threshold"] == 1e-7
    assert by_name["Overfit"].items() >= {"ratio_threshold": 0.1, "patience": 1, "start_step": 0}.items()
    assert (
        by_name["Overtraining"].items()
        >= {"patience_train": 5, "patience_validation": 10, "delta": 0.1, "relative": False}.items()
    )
    assert (
        by_name["PoorWeightInitialization"].items()
        >= {"threshold": 10.0, "distribution_range": 0.001, "patience": 5, "steps": 10}.items()
    )
    assert by_name["LossNotDecreasing"].items() >= {"num_steps": 10, "diff_percent": 0.0}.items()
    gpu = {"threshold_p95": 70, "threshold_p5": 10, "window": 500, "patience": 1000}
    assert by_name["LowGPUUtilization"].items() >= gpu.items()
    published = {
        "BatchSize": {"cpu_threshold_p95": 70, "gpu_threshold_p95": 70, "gpu_memory_threshold_p95": 70,
                      "patience": 1000, "window": 500},
        "CPUBottleneck": {"threshold": 50, "gpu_threshold": 10, "cpu_threshold": 90, "patience": 1000},
        "IOBottleneck": {"threshold": 50, "gpu_threshold": 10, "io_threshold": 50, "patience": 1000},
        "GPUMemoryIncrease": {"increase": 5, "patience": 1000, "window": 10},
        "LoadBalancing": {"threshold": 0.5, "patience": 1000},
        "StepOutlier": {"stddev": 3, "n_outliers": 10},
        "MaxInitializationTime": {"threshold": 20},
        "Dataloader": {"min_threshold": 70, "max_threshold": 200},
        "LowGPUUtilization": gpu,
    }  # fmt: skip
    for name, values in published.items():
        assert members[name].items() >= values.items()
    assert members.keys() - published.keys() == {"OverallSystemUsage", "FrameworkMetrics"}


@pytest.mark.parametrize("rule", [*SEED, *OURS], ids=lambda rule: rule.name)
def test_no_rule_says_all_is_well_of_a_training_that_nobody_saw(rule: ProfilerReport) -> None:
    found = rule.check(Recording())
    assert found.state in (State.INSUFFICIENT, State.NOT_EVALUATED)
    json.dumps(plain(found.as_json()), allow_nan=False)


def test_json_takes_neither_infinity_nor_members() -> None:
    assert plain({1: (math.inf, math.nan, 2.5), "a": [True, None, "x"]}) == {
        "1": ["inf", "nan", 2.5],
        "a": [True, None, "x"],
    }
    answer = SEED[-1].check(Recording()).as_json()
    assert answer["state"] == "InsufficientData"
    assert answer["parameters"]["StepOutlier"]["stddev"] == 3.0
