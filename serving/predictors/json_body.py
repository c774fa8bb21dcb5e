"""JSON that a client sent, looked at before it is parsed."""

from stocktake.errors import BadRequest

MAX_VALUES = 10_000
NOT_JSON = "the body is not JSON; send JSON, or to NAME:predict a photo as image/jpeg, png or webp"


def check_values(body: bytes | bytearray) -> None:
    """Refuse JSON of more values than any request has.

    A list of empty lists takes 3 bytes for each, and a hundred times that once it is parsed: a body within
    the limit would fill the memory. There is a comma or a bracket before every value, and base64 has neither.

    Raises:
        BadRequest: there are too many, or it is no JSON, of which a photo seems to have many.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        if body[:64].lstrip()[:1] not in (b"[", b"{", b""):
            raise BadRequest(NOT_JSON)
        raise BadRequest(
            f"body: the JSON has more than {MAX_VALUES:,} values; send photos as base64 or binary"
        )
