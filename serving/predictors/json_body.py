"""JSON that a client sent, looked at before it is parsed."""

from stocktake.errors import BadRequest

MAX_VALUES = 10_000


def check_values(body: bytes | bytearray) -> None:
    """Refuse JSON of more values than any request has.

    A list of empty lists takes 3 bytes for each, and a hundred times that once it is parsed: a body within
    the limit would fill the memory. There is a comma or a bracket before every value, and base64 has neither.

    Raises:
        BadRequest: there are too many.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BadRequest(
            f"body: the JSON has more than {MAX_VALUES:,} values; send photos as base64 or binary"
        )
