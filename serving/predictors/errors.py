"""Errors as a client sees them: one table for REST and gRPC.

400 malformed    401 no token    404 unknown    408 slow body    413 too large    415 not an image
429 queue full    500 our fault    501 not offered    503 not ready    504 deadline
"""

from http import HTTPStatus
from typing import NamedTuple

import grpc
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady

from stocktake.errors import BadRequest, PhotoTooLarge, StocktakeError, UnsupportedImage


class BodyTooLarge(BadRequest):
    """A request of more bytes than the server reads."""


class SlowBody(BadRequest):
    """A request whose body did not come in time."""


class UnsupportedMedia(BadRequest):
    """A body that is compressed, or of a type, in a way that we don't read."""


class ClientGone(BadRequest):
    """The client closed its connection before it was answered; nobody is left to read an answer."""


class Unauthorized(StocktakeError):
    """A request without the token that the server asks for."""


class UnknownModel(ModelNotFound):
    """A request for a model, or a version of it, that is not served. KServe's repeats the name that came."""

    def __init__(
        self, reason: str = "there is no model of this name; GET /v2/models lists those that there are"
    ):
        super().__init__()
        self.reason = reason


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
    SlowBody: Answer(HTTPStatus.REQUEST_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
    BodyTooLarge: Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, grpc.StatusCode.RESOURCE_EXHAUSTED),
    PhotoTooLarge: Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, grpc.StatusCode.INVALID_ARGUMENT),
    UnsupportedImage: Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, grpc.StatusCode.INVALID_ARGUMENT),
    UnsupportedMedia: Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, grpc.StatusCode.INVALID_ARGUMENT),
    Overloaded: Answer(HTTPStatus.TOO_MANY_REQUESTS, grpc.StatusCode.RESOURCE_EXHAUSTED),
    InferenceError: Answer(HTTPStatus.INTERNAL_SERVER_ERROR, grpc.StatusCode.INTERNAL),
    NotImplementedError: Answer(HTTPStatus.NOT_IMPLEMENTED, grpc.StatusCode.UNIMPLEMENTED),
    NotReady: Answer(HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    ModelNotReady: Answer(HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    ServerNotReady: Answer(HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
    DeadlineExceeded: Answer(HTTPStatus.GATEWAY_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED),
}

OUR_FAULT = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, grpc.StatusCode.INTERNAL)
_OUR_FAULT_TEXT = "the server failed on this request; its log says why"


class ClientError(InvalidInput):
    """A BadRequest on its way through KServe; what answers it is its cause."""

    def __init__(self, cause: BadRequest):
        super().__init__(str(cause))
        self.cause = cause


def answer_to(error: Exception) -> Answer:
    """How an error is answered, by the nearest class in the table; what is not in it is a fault of ours."""
    if isinstance(error, ClientError):
        error = error.cause
    return next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), OUR_FAULT)


def is_our_fault(error: Exception) -> bool:
    """Whether the log should say where it happened, and the client nothing but that it did."""
    return answer_to(error) == OUR_FAULT


def text_for_client(error: Exception) -> str:
    """What an answer says of an error."""
    return _OUR_FAULT_TEXT if is_our_fault(error) else str(error)
