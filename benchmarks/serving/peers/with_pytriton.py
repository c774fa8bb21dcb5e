"""Triton through pytriton: raw bytes over gRPC, Triton's dynamic batcher up to 8, its Python backend.

The wheel has no other backend, and needs a Python with a shared library whose version it was tested with.
"""

import json

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.serving.peers.pipeline import MAX_BATCH, Pipeline, options


def main() -> None:
    """Serve."""
    args = options(__doc__)
    pipeline = Pipeline(args.model_dir, args.setup, args.precision)

    @batch
    def infer(image: np.ndarray) -> dict[str, np.ndarray]:
        reports = [json.dumps(answer).encode() for answer in pipeline.answer(list(image[:, 0]))]
        return {"report": np.array(reports, np.object_)[:, None]}

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=args.http_port,
        grpc_address="127.0.0.1",
        grpc_port=args.grpc_port,
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=args.model,
            infer_func=infer,
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="report", dtype=bytes, shape=(1,))],
            config=ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main()
