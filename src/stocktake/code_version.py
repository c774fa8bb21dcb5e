"""Which code made something: the same words for the same library, wherever it is installed."""

from functools import cache
from importlib.metadata import version
from pathlib import Path

from stocktake.files import content_digest


@cache
def code_version() -> str:
    """Return the library's version and a short digest of its files, '0.1.0-1f0c…'.

    It is the default of a pipeline's `code_version`: cache keys of Kubeflow hold the name of an image, not
    its content, and a step's body only calls the library; without it, a step would be answered with what
    older code made. It also marks figures, so that only those of the same code are compared.
    """
    return f"{version('stocktake')}-{content_digest(Path(__file__).parent)[:12]}"
