"""How many scans a JPEG has: each is a pass over all of its pixels, however few bytes it takes.

A progressive JPEG of a megabyte can ask for ten thousand passes over 80 megapixels, which is half an hour.
"""

import re

_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)  # the others stand alone
_END, _SCAN = 0xD9, 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


def count_scans(data: bytes, most: int) -> int:
    """Scans of the JPEG in `data` that a decoder goes through; counting ends at `most`.

    Where the first scan has all components of a photo that is not progressive, decoders stop after it, and
    so does this: the bytes of an ordinary photo are not searched. Damage ends the count.
    """
    scans, place, components, progressive = 0, 2, 0, False
    while scans < most and (marker := _MARKER.search(data, place)):
        kind, place = marker.group(1)[0], marker.end()
        length = int.from_bytes(data[place : place + 2], "big")
        if kind == _END or length < 2:
            break
        if kind in _FRAMES:
            progressive, components = kind in _PROGRESSIVE, data[place + 7] if place + 7 < len(data) else 0
        if kind == _SCAN:
            scans += 1
            if not progressive and data[place + 2 : place + 3] == bytes([components]):
                break
        place += length
    return scans
