"""The engine that runs an ONNX model."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stocktake.errors import ModelError

INPUT_NAME = "image"


class Runner:
    """Runs one model on the CPU. `infer` may be called from several threads at once.

    Attributes:
        output_names: the graph's outputs, in its order.
        engine: what runs it, for logs and metadata.
    """

    def __init__(self, session: Any):
        self._session = session
        self.output_names: list[str] = [output.name for output in session.get_outputs()]
        self.engine = "onnxruntime cpu fp32"

    @classmethod
    def load(cls, path: Path, threads: int | None = None) -> Self:
        """Load a model whose one input is `image`, (N, H, W, 3) uint8 RGB.

        Args:
            path: the ONNX file.
            threads: of one inference; None takes one for each core.

        Raises:
            ModelError: the file cannot be loaded, or its input is another one.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the engine's exceptions have no common base
            raise ModelError(f"{path}: cannot be loaded ({error}); export the model again") from error
        found = [(node.name, node.type, len(node.shape)) for node in session.get_inputs()]
        if found != [(INPUT_NAME, "tensor(uint8)", 4)]:
            raise ModelError(
                f"{path}: its inputs are {found}, not one '{INPUT_NAME}', uint8, of shape (N, H, W, 3); "
                "export the model with stocktake"
            )
        return cls(session)

    def infer_blank(self, size: int, path: Path) -> dict[str, NDArray[np.float32]]:
        """Run two blank photos of `size` px, which warms the engine up and shows what comes out.

        Raises:
            ModelError: the model, which is that of `path`, can't.
        """
        try:
            return self.infer(np.zeros((2, size, size, 3), np.uint8))
        except Exception as error:  # the engine's exceptions have no common base
            raise ModelError(f"{path}: cannot run a batch of 2 at {size} px ({error})") from error

    def infer(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the model on (N, H, W, 3) uint8 RGB. Returns its outputs by name, each with N rows."""
        outputs = self._session.run(None, {INPUT_NAME: batch})
        return dict(zip(self.output_names, outputs, strict=True))
