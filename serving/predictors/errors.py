"""Errors as a client sees them: one table for REST and gRPC.

400 malformed    401 no token    413 too large    415 not an image    429 queue full
503 not ready    504 deadline    (404 unknown and 501 closed are KServe's own)
"""

from http import HTTPStatus
from typing import NamedTuple

import grpc
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady

from stocktake.errors import BadRequest, PhotoTooLarge, StocktakeError, UnsupportedImage


class BodyTooLarge(BadRequest):
    """A request of more bytes than the server reads."""


class Unauthorized(StocktakeError):
    """A request without the token that the server asks for."""


class Overloaded(StocktakeError):
    """As many requests wait as may.

    `retry_after` is when it makes sense to come back, whole seconds, 1 or more.
    """

    def __init__(self, retry_after: int):
        super().__init__(f"too many requests wait; come back in {retry_after} s")
        self.retry_after = retry_after


class NotReady(StocktakeError):
    """The server starts, or is about to end."""


class DeadlineExceeded(StocktakeError):
    """A request was not answered in the time that it has."""


class Answer(NamedTuple):
    """How an error is answered over REST and over gRPC."""

    http: HTTPStatus
    grpc: grpc.StatusCode


ANSWERS: dict[type[Exception], Answer] = {
    BadRequest: Answer(HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    InvalidInput: Answer(HTTPStatus.BAD_REQUEST, grpc.StatusCode.INVALID_ARGUMENT),
    Unauthorized: Answer(HTTPStatus.UNAUTHORIZED, grpc.StatusCode.UNAUTHENTICATED),
    ModelNotFound: Answer(HTTPStatus.NOT_FOUND, grpc.StatusCode.NOT_FOUND),
    BodyTooLarge: Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, grpc.StatusCode.INVALID_ARGUMENT),
    PhotoTooLarge: Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, grpc.StatusCode.INVALID_ARGUMENT),
    UnsupportedImage: Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, grpc.StatusCode.INVALID_ARGUMENT),
    Overloaded: Answer(HTTPStatus.TOO_MANY_REQUESTS, grpc.StatusCode.RESOURCE_EXHAUSTED),
    InferenceError: Answer(HTTPStatus.INTERNAL_SERVER_ERROR, grpc.StatusCode.INTERNAL),
    NotImplementedError: Answer(HTTPStatus.NOT_IMPLEMENTED, grpc.StatusCode.UNIMPLEMENTED),
    NotReady: Answer(HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    ModelNotReady: Answer(HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    DeadlineExceeded: Answer(HTTPStatus.GATEWAY_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
}


OUR_FAULT = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, grpc.StatusCode.INTERNAL)


class ClientError(InvalidInput):
    """A BadRequest on its way through KServe, which answers InvalidInput with INVALID_ARGUMENT over gRPC."""

    def __init__(self, cause: BadRequest):
        super().__init__(str(cause))
        self.cause = cause


def answer_to(error: Exception) -> Answer:
    """How an error is answered, by the nearest class in the table; what is not in it is a fault of ours."""
    return next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), OUR_FAULT)
