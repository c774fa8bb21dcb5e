"""Watches a training: the rules of SageMaker Debugger and its profiler report, for any PyTorch loop."""

from stocktake.monitoring.results import RuleResult, State, StopTraining, summary

__all__ = ["RuleResult", "State", "StopTraining", "summary"]
