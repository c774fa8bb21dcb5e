"""Hyperparameter search: one search space, two engines (Optuna on one machine, Katib on a cluster)."""
