"""The seven rules with two sets of parameters: SageMaker Debugger's published defaults, and ours.

Published: the pages of the rules in the SageMaker developer guide, and the classes of
awslabs/sagemaker-debugger-rulesconfig for the profiler rules. Both count samples of 500 ms. Why ours differ
is said at each rule; docs/training-rules.md has both side by side.
"""

from stocktake.monitoring.gradient_rules import PoorWeightInitialization, VanishingGradient
from stocktake.monitoring.loss_rules import LossNotDecreasing, Overfit, Overtraining
from stocktake.monitoring.machine_rules import (
    BatchSize,
    CPUBottleneck,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
)
from stocktake.monitoring.profiler_rules import (
    Dataloader,
    FrameworkMetrics,
    MaxInitializationTime,
    OverallSystemUsage,
    ProfilerReport,
    StepOutlier,
)
from stocktake.monitoring.rule import Rule

SEED: tuple[Rule, ...] = (
    VanishingGradient(),
    Overfit(),
    Overtraining(),
    PoorWeightInitialization(),
    LossNotDecreasing(),
    LowGPUUtilization(),
    ProfilerReport(
        (
            BatchSize(),
            CPUBottleneck(),
            Dataloader(),
            GPUMemoryIncrease(),
            IOBottleneck(),
            LoadBalancing(),
            LowGPUUtilization(),
            MaxInitializationTime(),
            OverallSystemUsage(),
            FrameworkMetrics(),
            StepOutlier(),
        )
    ),
)

# a minute of warm-up and windows of two minutes: the published ones need over eight minutes to say anything
_GPU = LowGPUUtilization(patience=120, window=240)
OURS: tuple[Rule, ...] = (
    VanishingGradient(threshold=0.0, relative=1e-6, patience=3, weights_only=True, share=0.2, growth=1.5),
    Overfit(patience=3, rise=0.02, floor=0.05, eval_mode=True),
    Overtraining(delta=0.01, relative=True),
    PoorWeightInitialization(
        threshold=1e6,
        distribution_range=1e-6,
        patience=0,
        lasting=True,
        relative=True,
        share=0.2,
        symmetry=True,
    ),
    LossNotDecreasing(num_steps=50, diff_percent=1.0, patience=3, windows=True, rise_percent=50.0),
    _GPU,
    ProfilerReport(
        (
            BatchSize(patience=120, window=240),
            CPUBottleneck(patience=120),
            Dataloader(min_threshold=0.0, wait_share=0.05),
            GPUMemoryIncrease(patience=120),
            IOBottleneck(patience=120),
            LoadBalancing(patience=120, threshold=0.2),
            _GPU,
            MaxInitializationTime(threshold=5.0),
            OverallSystemUsage(),
            FrameworkMetrics(),
            StepOutlier(n_outliers=0, factor=2.0, share=0.1),
        )
    ),
)
PRESETS: dict[str, tuple[Rule, ...]] = {"seed": SEED, "ours": OURS}
