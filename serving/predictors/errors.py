"""Errors as a client sees them: one table for REST, and gRPC's INVALID_ARGUMENT for all of them."""

from http import HTTPStatus

from kserve.errors import InvalidInput

from stocktake.errors import BadRequest, PhotoTooLarge, UnsupportedImage


class BodyTooLarge(BadRequest):
    """A request of more bytes than the server reads."""


STATUS: dict[type[BadRequest], HTTPStatus] = {
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    PhotoTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    BadRequest: HTTPStatus.BAD_REQUEST,
}


class ClientError(InvalidInput):
    """A BadRequest on its way through KServe, which answers InvalidInput with INVALID_ARGUMENT over gRPC."""

    def __init__(self, cause: BadRequest):
        super().__init__(str(cause))
        self.cause = cause


def status_of(error: BadRequest) -> HTTPStatus:
    """The HTTP status of an error, by the nearest class in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
