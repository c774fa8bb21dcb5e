"""Thin Kubeflow Pipelines steps; each body calls the library."""
