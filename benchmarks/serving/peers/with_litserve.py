"""LitServe: base64 in JSON, a batch of up to 8 that waits up to 10 ms."""

import base64
from typing import Any

import litserve

from benchmarks.serving.peers.pipeline import BATCH_WAIT_SECONDS, MAX_BATCH, Pipeline, Square, options


class Api(litserve.LitAPI):
    """The three stages as LitServe names them."""

    def setup(self, _device: str) -> None:
        """Load, in the worker's process."""
        args = options(__doc__)
        self.pipeline = Pipeline(args.model_dir, args.setup, args.precision)

    def decode_request(self, request: dict[str, Any]) -> Square:
        """From the JSON to pixels."""
        return self.pipeline.decode(base64.b64decode(request["image"]))

    def batch(self, inputs: list[Square]) -> list[Square]:
        """Squares stay as they are; the pipeline stacks them."""
        return inputs

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer for each."""
        return output

    def predict(self, squares: list[Square]) -> list[dict[str, Any]]:
        """Run the model on a batch."""
        return self.pipeline.answer_squares(squares)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """JSON as it is."""
        return output


def main() -> None:
    """Serve."""
    args = options(__doc__)
    api = Api(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=args.http_port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
