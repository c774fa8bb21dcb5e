"""The standard health service of gRPC, for Kubernetes' probes and for load balancers.

The service "" is the server with all its models, a model's name is that model, and the name of the protocol's
service is the server again.
"""

import asyncio
from contextlib import suppress

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane

INFERENCE_SERVICE = "inference.GRPCInferenceService"
SECONDS_BETWEEN_LOOKS = 1.0
MOST_WATCHERS = 100


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Asks the data plane whenever it is asked, so that it can't say anything else than readiness does."""

    def __init__(self, dataplane: DataPlane):
        self._dataplane = dataplane
        self._ending = asyncio.Event()
        self._watchers = 0

    def end(self) -> None:
        """Tell those who watch once more, and nothing after that."""
        self._ending.set()

    async def Check(  # noqa: N802
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> HealthCheckResponse:
        """Whether a service can answer now; NOT_FOUND for one that there is not."""
        status = await self._status(request.service)
        if status == HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802
        self, request: HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> None:
        """The same, and again whenever it changes, until the client has heard enough or the server ends."""
        if self._watchers >= MOST_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch already; ask with Check")
        self._watchers += 1
        try:
            told, ending = None, False
            while not ending:
                ending = self._ending.is_set()
                status = await self._status(request.service)
                if status != told:
                    await context.write(HealthCheckResponse(status=status))
                told = status
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), SECONDS_BETWEEN_LOOKS)
        finally:
            self._watchers -= 1

    async def _status(self, service: str) -> int:
        try:
            if service in ("", INFERENCE_SERVICE):
                is_ready = await self._dataplane.ready()
            else:
                is_ready = await self._dataplane.model_ready(service)
        except ModelNotFound:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if is_ready else HealthCheckResponse.NOT_SERVING
