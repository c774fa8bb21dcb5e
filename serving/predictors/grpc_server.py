"""KServe's gRPC server with our services: inference, health and reflection."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from serving.predictors.grpc_errors import ErrorsToStatus, RoomFirst
from serving.predictors.grpc_health import INFERENCE_SERVICE, HealthServicer
from serving.predictors.grpc_service import PredictorServicer
from serving.predictors.requests import Limits, check_room


class PredictorGrpcServer(GRPCServer):
    """KServe's has no health service, no reflection, and turns some errors into others."""

    def __init__(
        self,
        port: int,
        dataplane: DataPlane,
        repository: ModelRepositoryExtension,
        limits: Limits,
        grace_seconds: int = 30,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        credentials: grpc.ServerCredentials | None = None,
    ):
        """`interceptors` look at a call before ours; without `credentials` nothing is encrypted."""
        super().__init__(port, dataplane, repository, {}, grace_seconds)
        self._limits = limits
        self._interceptors = interceptors
        self._credentials = credentials
        self._health = HealthServicer(dataplane)

    async def start(self, _max_workers: int = 0) -> None:
        """Serve until `stop`. Our services are coroutines and need no threads."""
        options = [
            ("grpc.max_send_message_length", self._limits.body_bytes),
            ("grpc.max_receive_message_length", self._limits.body_bytes),
            ("grpc.so_reuseport", 0),  # a second server on the port is a mistake, not a helper
        ]
        check = partial(check_room, self._data_plane.model_registry)
        room = RoomFirst(f"/{INFERENCE_SERVICE}/ModelInfer", check, self._limits.seconds)
        self._server = grpc.aio.server(
            interceptors=[*self._interceptors, room, ErrorsToStatus()],
            options=options,
            maximum_concurrent_rpcs=self._limits.calls,
        )
        self._add_services(self._server)
        address = f"[::]:{self._port}"
        if self._credentials is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, self._credentials)
        await self._server.start()
        await self._server.wait_for_termination()

    async def stop(self, sig: int | None = None) -> None:
        """Answer what was accepted; those who watch the server's health are not waited for."""
        self._health.end()
        await super().stop(sig)

    def _add_services(self, server: Any) -> None:
        inference = PredictorServicer(
            self._data_plane, self._model_repository_extension, self._limits.seconds
        )
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (INFERENCE_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
