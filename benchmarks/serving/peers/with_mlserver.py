"""MLServer: v2 JSON with base64, a batch of up to 8 that waits up to 10 ms."""

import asyncio
import json
from pathlib import Path

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.peers.pipeline import BATCH_WAIT_SECONDS, MAX_BATCH, Pipeline, options


class Model(MLModel):
    """A custom runtime; it runs in a worker's process."""

    async def load(self) -> bool:
        """Load what the settings name."""
        settings = json.loads(self.settings.parameters.uri)
        self.pipeline = Pipeline(Path(settings["model_dir"]), settings["setup"], settings["precision"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a batch."""
        photos = self.decode(payload.inputs[0], default_codec=Base64Codec)
        reports = [json.dumps(answer) for answer in self.pipeline.answer(photos)]
        output = StringCodec.encode_output("report", reports)
        return InferenceResponse(model_name=self.name, outputs=[output])


def main() -> None:
    """Serve."""
    args = options(__doc__)
    setup = {"model_dir": str(args.model_dir), "setup": args.setup, "precision": args.precision}
    model = ModelSettings(
        name=args.model,
        implementation="benchmarks.serving.peers.with_mlserver.Model",
        max_batch_size=MAX_BATCH,
        max_batch_time=BATCH_WAIT_SECONDS,
        parameters={"uri": json.dumps(setup)},
    )
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=args.http_port,
        grpc_port=args.grpc_port,
        metrics_endpoint=None,
    )
    asyncio.run(_serve(settings, model))


async def _serve(settings: Settings, model: ModelSettings) -> None:
    await MLServer(settings).start([model])


if __name__ == "__main__":
    main()
