"""What can go wrong in the gateway, and how each is answered over HTTP."""

from http import HTTPStatus

from stocktake.errors import BadRequest, PhotoTooLarge, StocktakeError, StoreError, UnsupportedImage


class Unauthorized(StocktakeError):
    """No token, or one that nobody gave out."""


class Forbidden(StocktakeError):
    """The token's role may not do this."""


class NotFound(StocktakeError):
    """There is no such job, photo or alert, or the token may not see it."""


class Clash(StocktakeError):
    """What is asked for contradicts what is there already."""


class NotBlurred(BadRequest):
    """A photo on which people cannot be made unrecognisable."""


class BodyTooLarge(BadRequest):
    """A body of more bytes than are read."""


class UnsupportedMedia(BadRequest):
    """A body of a type, or packed in a way, that is not read."""


class SlowBody(BadRequest):
    """A body that did not come in time."""


class ClientGone(BadRequest):
    """Nobody waits for the answer any more."""


class Unavailable(StocktakeError):
    """A part that is needed cannot be reached now; the same may work later."""

    def __init__(self, reason: str, retry_after_s: int = 5):
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Away(Unavailable):
    """Nobody was there to be asked."""


class Overloaded(Unavailable):
    """Too much waits already, or was asked in this minute."""


class DeadlineExceeded(Unavailable):
    """No answer came in time."""


ANSWERS: dict[type[Exception], HTTPStatus] = {
    BadRequest: HTTPStatus.BAD_REQUEST,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    PhotoTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedImage: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnsupportedMedia: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    SlowBody: HTTPStatus.REQUEST_TIMEOUT,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Clash: HTTPStatus.CONFLICT,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: Exception) -> HTTPStatus:
    """By the nearest class in the table; what is not in it is a fault of ours."""
    kinds = type(error).__mro__
    return next((ANSWERS[kind] for kind in kinds if kind in ANSWERS), HTTPStatus.INTERNAL_SERVER_ERROR)


def text_for_client(error: StocktakeError) -> str:
    """What an answer says of an error; where photos are kept is nobody's business."""
    return "photos cannot be stored or read now" if isinstance(error, StoreError) else str(error)
