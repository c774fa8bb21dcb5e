"""Whether the chunks of a PNG end where the file does: a decoder may set aside as much as one claims to have.

OpenCV (5.0) does, up to 4 GB for a file of a hundred bytes, before it notices that they are not there.
"""

_SIGNATURE_BYTES, _LENGTH_BYTES, _KIND_BYTES, _SUM_BYTES = 8, 4, 4, 4
_END = b"IEND"


def overlong_chunk(data: bytes) -> str | None:
    """The kind of the first chunk of the PNG in `data` that goes beyond its end; None if all are whole.

    Bytes after IEND, the last chunk, are not looked at; where there is none, IEND is what is missing.
    """
    place = _SIGNATURE_BYTES
    while header := data[place : place + _LENGTH_BYTES + _KIND_BYTES]:
        kind = header[_LENGTH_BYTES:]
        place += len(header) + int.from_bytes(header[:_LENGTH_BYTES], "big") + _SUM_BYTES
        if place > len(data):
            return kind.decode("latin-1")
        if kind == _END:
            return None
    return _END.decode()
