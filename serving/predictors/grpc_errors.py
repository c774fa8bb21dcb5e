"""Errors over gRPC: the status of the table, with the text that REST has."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from serving.predictors.client_log import log_error
from serving.predictors.errors import Overloaded, answer_to, text_for_client
from serving.predictors.metrics import count_refusal
from stocktake.errors import BadRequest

RETRY_HEADER = "grpc-retry-pushback-ms"  # what clients that retry by themselves wait for


Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]]


class Unreadable:
    """Takes the place of a message that is none of its method."""


class RoomFirst(grpc.aio.ServerInterceptor):
    """Refuses a call for inference before its message is read, where there is no place for any.

    Which model it is for stands in the message, so the place itself is taken after that.
    """

    def __init__(self, method: str, check: Callable[[], None]):
        """`method` is the full name of the one for inference; `check` raises Overloaded."""
        self._method = method
        self._check = check

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method, as one of a stream, whose messages gRPC reads when they are asked for."""
        handler = await continuation(details)
        if details.method != self._method:
            return handler

        async def answer(messages: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            try:
                self._check()
            except Overloaded as error:
                count_refusal(error, "grpc")
                await abort_with(error, context)
            async for message in messages:
                return await handler.unary_unary(message, context)
            return await abort_with(BadRequest("there is no message"), context)

        return grpc.stream_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )


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
            try:
                if request is Unreadable:
                    raise BadRequest(f"the message is none that {details.method} takes")
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
