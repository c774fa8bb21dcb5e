"""Whether a PNG can be decoded at a cost that fits its size: told from its chunks, with nothing unpacked.

OpenCV (5.0) sets aside as much as a chunk claims to have, up to 4 GB for a file of a hundred bytes, before it
notices that the bytes are not there. Pillow takes microseconds for each chunk, however small.
"""

MAX_CHUNKS = 50_000  # encoders write 8 kB in each and more, which would be 8,192 in the largest file

_SIGNATURE_BYTES, _LENGTH_BYTES, _KIND_BYTES, _SUM_BYTES = 8, 4, 4, 4


def find_fault(data: bytes | memoryview) -> str | None:
    """What is wrong with the chunks of the PNG in `data`, as the end of "a png that …"; None if nothing is.

    Bytes after IEND, the last chunk, are not looked at.
    """
    place = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        header = bytes(data[place : place + _LENGTH_BYTES + _KIND_BYTES])
        if len(header) < _LENGTH_BYTES + _KIND_BYTES:
            return "ends before its last chunk, IEND"
        length, kind = int.from_bytes(header[:_LENGTH_BYTES], "big"), header[_LENGTH_BYTES:]
        place += len(header) + length + _SUM_BYTES
        if place > len(data):
            return f"ends in its chunk {kind.decode('latin-1')!r}"
        if kind == b"IEND":
            return None
    return f"has more than {MAX_CHUNKS:,} chunks"
