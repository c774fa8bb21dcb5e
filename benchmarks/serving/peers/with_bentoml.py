"""BentoML: files of a form, its adaptive batching up to 8."""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml

from benchmarks.serving.peers.pipeline import MAX_BATCH, Pipeline, options

SETTINGS = ("model_dir", "setup", "precision")


@bentoml.service
class Predictor:
    """One service with one batchable method."""

    def __init__(self) -> None:
        # the command line belongs to bentoml here
        model_dir, setup, precision = (os.environ[f"PEER_{name.upper()}"] for name in SETTINGS)
        self.pipeline = Pipeline(Path(model_dir), setup, precision)

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def predict(self, image: list[Path]) -> list[dict[str, Any]]:
        """Answer a batch."""
        return self.pipeline.answer([path.read_bytes() for path in image])


def main() -> None:
    """Become `bentoml serve`."""
    args = options(__doc__)
    settings = {f"PEER_{name.upper()}": str(getattr(args, name)) for name in SETTINGS}
    environment = {**os.environ, **settings, "BENTOML_DO_NOT_TRACK": "True"}
    service = "benchmarks.serving.peers.with_bentoml:Predictor"
    command = [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1"]
    os.execve(sys.executable, [*command, "--port", str(args.http_port)], environment)


if __name__ == "__main__":
    main()
