"""What a JPEG asks of its decoders, told from its markers at the speed of a regular expression.

Each scan is a pass over all of its pixels, however few bytes it takes: a progressive JPEG of a megabyte can
ask for ten thousand passes over 80 megapixels, which is half an hour. And Pillow reads what is between the
segments of a header byte by byte, which takes seconds for the 64 MB that a photo may have.
"""

import re

from PIL.JpegImagePlugin import MARKER

MAX_SEGMENTS = 2000  # before the pixels; Exif and colour profiles are cut into hundreds at most
MAX_EXIF_SEGMENTS = 8  # of 64 KiB, which Pillow joins and reads; cameras write one
MAX_PADDING = 4096  # bytes between them, all in all

_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)  # the others stand alone
_END, _SCAN, _APP1 = 0xD9, 0xDA, 0xE1
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


def count_scans(data: bytes | memoryview, most: int) -> int:
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


def has_short_header(data: bytes | memoryview) -> bool:
    """Whether Pillow soon comes to the first scan of the JPEG in `data`, or to its end.

    It skips the segments that it has a use for, and looks at all other bytes one by one. Of Exif it reads
    every tag, in the hope of a resolution.
    """
    place, left, exif = 2, MAX_PADDING, 0
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, place, place + left + 2)
        if marker is None:
            return place + left >= len(data)
        kind = marker.group(1)[0]
        is_read = _reads(kind)
        left -= marker.end() - place - (2 if is_read else 0)
        place = marker.end()
        if kind == _SCAN:
            return True
        exif += kind == _APP1 and data[place + 2 : place + 6] == b"Exif"
        if exif > MAX_EXIF_SEGMENTS:
            return False
        if is_read:
            place += int.from_bytes(data[place : place + 2], "big")
        elif left < 0:
            return False
    return False


def _reads(kind: int) -> bool:
    """Whether Pillow reads the segment that such a marker begins."""
    _, _, reader = MARKER.get(0xFF00 | kind, (None, None, None))
    return reader is not None
