"""The gRPC service of the Open Inference Protocol, with the checks and the errors that REST has."""

import asyncio
from typing import TypeAlias

import grpc
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.utils.utils import to_headers

from serving.predictors import requests
from serving.predictors.grpc_v2 import message_of_response, request_of_message
from serving.predictors.metadata import model_metadata, version_of
from serving.predictors.metrics import observe_request
from serving.predictors.parameters import timeout_seconds

Context: TypeAlias = grpc.aio.ServicerContext


class PredictorServicer(InferenceServicer):
    """KServe's, which knows no versions and answers a shape that does not fit with INTERNAL.

    A call that is cancelled, or whose deadline passes, has its task cancelled by gRPC.
    """

    def __init__(self, dataplane: DataPlane, repository: ModelRepositoryExtension, seconds: float):
        """A call may take `seconds`, or less if its client says so."""
        super().__init__(dataplane, repository)
        self._models = dataplane.model_registry
        self._seconds = seconds

    async def ModelInfer(  # noqa: N802
        self, request: messages.ModelInferRequest, context: Context
    ) -> messages.ModelInferResponse:
        """Ask a model."""
        with observe_request(request.model_name, "grpc"):
            return await self._infer(request, context)

    async def _infer(
        self, request: messages.ModelInferRequest, context: Context
    ) -> messages.ModelInferResponse:
        model = await requests.find_model(self._models, request.model_name, request.model_version)
        now = asyncio.get_running_loop().time()
        until = requests.call_began.get(now) + self._seconds
        if (left := context.time_remaining()) is not None:
            until = min(until, now + left)
        with requests.place_in(model) as hold:
            hold(request.ByteSize())
            async with requests.deadline(until) as clock:
                payload = request_of_message(request, version_of(model))
                requests.shorten(clock, timeout_seconds(payload.parameters))
                response = await requests.ask(model, payload, to_headers(context))
                return message_of_response(payload, response)

    async def ModelReady(  # noqa: N802
        self, request: messages.ModelReadyRequest, context: Context
    ) -> messages.ModelReadyResponse:
        """Whether a model can answer."""
        requests.known_model(self._models, request.name, request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(  # noqa: N802
        self, request: messages.ModelMetadataRequest, _context: Context
    ) -> messages.ModelMetadataResponse:
        """What a model takes and answers. KServe's definition has no field for its properties."""
        model = requests.known_model(self._models, request.name, request.version)
        metadata = model_metadata(model, request.name)
        del metadata["properties"]
        return messages.ModelMetadataResponse(**metadata)
