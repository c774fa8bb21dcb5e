"""A light gRPC client of the Open Inference Protocol: messages are bytes that were serialised in advance."""

from __future__ import annotations

from typing import Any

import grpc

from benchmarks.serving.http_client import TIMEOUT_SECONDS, Answer

INFER = "/inference.GRPCInferenceService/ModelInfer"
MAX_BYTES = 256 << 20


class GrpcClient:
    """Asks one server over one channel. Made and used inside an event loop."""

    def __init__(self, port: int, host: str = "127.0.0.1"):
        options = [
            ("grpc.max_receive_message_length", MAX_BYTES),
            ("grpc.max_send_message_length", MAX_BYTES),
        ]
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}", options)
        self._infer: Any = self._channel.unary_unary(INFER)

    async def ask(self, message: bytes, timeout: float = TIMEOUT_SECONDS) -> Answer:
        """Send a serialised ModelInferRequest; the body of the answer is a serialised ModelInferResponse."""
        try:
            return Answer("OK", await self._infer(message, timeout=timeout))
        except grpc.aio.AioRpcError as error:
            return Answer(error.code().name, (error.details() or "").encode())

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()
