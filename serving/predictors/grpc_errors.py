"""Errors over gRPC: the status of the table, with the text that REST has."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

from serving.predictors import requests
from serving.predictors.admission import LEAST_REQUESTS
from serving.predictors.client_log import log_error
from serving.predictors.errors import Overloaded, answer_to, text_for_client
from serving.predictors.grpc_fields import is_small
from serving.predictors.metrics import count_refusal
from stocktake.errors import BadRequest, StocktakeError

MESSAGE_S = 10.0  # that a message has from its call on; gRPC does not tell how much of it has come
RETRY_HEADER = "grpc-retry-pushback-ms"  # what clients that retry by themselves wait for


Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]]


class Unreadable:
    """Takes the place of a message that is none of its method."""


class RoomFirst(grpc.aio.ServerInterceptor):
    """Refuses a call for inference before its message is read, where there is no place for any.

    Which model it is for stands in the message, so its place there is taken after that. Until then it counts
    among the calls whose message is still to come, of which there are `LEAST_REQUESTS` at most.
    """

    def __init__(self, method: str, check: Callable[[], None], seconds: float):
        """`method` is the full name of the one for inference; `check` raises Overloaded.

        A message is there within `seconds`, and within MESSAGE_S: those still to come have few places.
        """
        self._method = method
        self._check = check
        self._seconds = seconds
        self._reading = 0

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, as one of a stream, whose messages gRPC reads when they are asked for."""
        handler = await continuation(details)
        if details.method != self._method:
            return handler

        async def answer(messages: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            requests.call_began.set(asyncio.get_running_loop().time())
            try:
                message = await self._read(messages)
            except StocktakeError as error:
                count_refusal(error, "grpc")
                return await abort_with(error, context)
            return await handler.unary_unary(message, context)

        def read(data: bytes) -> Any:
            if not is_small(data, ModelInferRequest.DESCRIPTOR):
                return Unreadable
            return handler.request_deserializer(data)

        return grpc.stream_unary_rpc_method_handler(answer, read, handler.response_serializer)

    async def _read(self, messages: AsyncIterator[Any]) -> Any:
        if self._reading >= LEAST_REQUESTS:
            raise Overloaded(1)
        self._check()
        self._reading += 1
        try:
            seconds = min(self._seconds, MESSAGE_S)
            async with requests.deadline(asyncio.get_running_loop().time() + seconds):
                async for message in messages:
                    return message
        finally:
            self._reading -= 1
        raise BadRequest("there is no message")


class ErrorsToStatus(grpc.aio.ServerInterceptor):
    """Answers whatever goes wrong in a call that sends one message and gets one."""

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, and `abort_with`."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        def read(data: bytes) -> Any:
            try:
                return handler.request_deserializer(data)
            except Exception:  # what leaves this function gRPC calls UNKNOWN, with a traceback in the log
                return Unreadable

        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            if request is Unreadable:
                unreadable = BadRequest(f"the message is none of {details.method}, or has too many parts")
                count_refusal(unreadable, "grpc")
                return await abort_with(unreadable, context)
            try:
                return await handler.unary_unary(request, context)
            except grpc.aio.AbortError:  # answered already
                raise
            except Exception as error:
                await abort_with(error, context)

        return grpc.unary_unary_rpc_method_handler(answer, read, handler.response_serializer)


async def abort_with(error: Exception, context: grpc.aio.ServicerContext) -> Any:
    """End a call with the answer to an error. Raises grpc.aio.AbortError, as gRPC wants it."""
    log_error(error)
    if isinstance(error, Overloaded):
        context.set_trailing_metadata(((RETRY_HEADER, str(error.retry_after * 1000)),))
    await context.abort(answer_to(error).grpc, text_for_client(error))
