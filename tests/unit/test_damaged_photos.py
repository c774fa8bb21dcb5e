"""Whatever the bytes are, a photo of the size that its header says comes out of them, or a refusal."""

import contextlib
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stocktake.errors import PhotoTooLarge, UnsupportedImage
from stocktake.images import check_photo, decode_photo, decode_reduced
from stocktake.jpeg_scans import count_scans
from stocktake.photo_header import MAX_PIXELS, MAX_SCANS, read_info
from stocktake.small_photos import open_small
from tests.encoded_photos import encode, encodings, exif_block, png, resized_jpeg, smooth_picture

MOST = 1_000_000  # pixels, so that a flipped bit in a size does not cost seconds
FILES = encodings(smooth_picture(93, 61))
SIGNATURES = {"jpeg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF\x40\0\0\0WEBPVP8 "}


def read_every_way(data: bytes) -> int:
    """How many of the ways to read a photo accept it; any error but a refusal fails the test."""
    accepted = 0
    for least_side in (None, 50, 25, 10):
        try:
            photo = decode_reduced(memoryview(data), least_side, MOST)  # as they are served
        except UnsupportedImage:
            continue
        info = read_info(data, MOST)
        assert (photo.width, photo.height) == (info.width, info.height)
        assert photo.pixels.shape == (
            -(-info.height // photo.reduction),
            -(-info.width // photo.reduction),
            3,
        )
        assert photo.pixels.dtype == np.uint8
        accepted += 1
    with contextlib.suppress(UnsupportedImage):
        small, info = open_small(data, 25, "L", MOST), read_info(data, MOST)
        assert small.size in {(-(-info.width // by), -(-info.height // by)) for by in (1, 2, 4, 8)}
    try:
        check_photo(data, MOST)
    except UnsupportedImage:
        return accepted
    return accepted + 1


@pytest.mark.parametrize("name", FILES)
def test_undamaged_photos_are_read_every_way(name):
    assert read_every_way(FILES[name]) == (4 if name == "jpeg-lossless" else 5)  # that one has no grey


@pytest.mark.parametrize("name", FILES)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=12)
)
@settings(max_examples=60, deadline=None)
def test_flipped_bits(name, flips):
    data = bytearray(FILES[name])
    for place, bit in flips:
        data[int(place * len(data))] ^= 1 << bit
    read_every_way(bytes(data))


@pytest.mark.parametrize("name", FILES)
@given(flips=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), min_size=1, max_size=6))
@example(flips=[(33, 255)])  # in a PNG the length of the first chunk after the header
@settings(max_examples=60, deadline=None)
def test_other_bytes_in_the_header(name, flips):
    data = bytearray(FILES[name])
    for place, value in flips:
        data[place] = value
    read_every_way(bytes(data))


@pytest.mark.parametrize("name", FILES)
@given(cut=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(max_examples=40, deadline=None)
def test_pieces_that_are_missing(name, cut):
    start, end = sorted(int(share * len(FILES[name])) for share in cut)
    read_every_way(FILES[name][:start] + FILES[name][end:])


@pytest.mark.parametrize("name", [name for name in FILES if name != "jpeg-lossless"])
def test_truncated_files_are_refused_wherever_they_end(name):
    data = FILES[name]
    # the first picture of a file of several ends before the file does
    whole = {"mpo": len(data) // 2, "png-animated": len(data) // 4, "webp-animated": len(data) // 4}
    end_at = whole.get(name, len(data))
    for end in {*range(0, end_at, 1 + len(data) // 60), *range(max(end_at - 16, 0), end_at - 4)}:
        assert read_every_way(data[:end]) == 0, end


@given(noise=st.binary(max_size=400), kind=st.sampled_from(["", *SIGNATURES]))
@example(noise=b"", kind="")
@settings(max_examples=200, deadline=None)
def test_random_bytes(noise, kind):
    assert read_every_way(SIGNATURES.get(kind, b"") + noise) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_one_pixel(orientation):
    picture = smooth_picture(1, 1)
    for kind in ("JPEG", "PNG", "WEBP"):
        assert read_every_way(encode(picture, kind, exif=exif_block(orientation))) == 5


def resized_webp(data: bytes, width: int, height: int) -> bytes:
    """A lossy WebP whose frame claims another size."""
    return data[:26] + struct.pack("<HH", width, height) + data[30:]


BOMBS = {
    "jpeg": resized_jpeg(FILES["jpeg"], 20_000, 20_000),
    "progressive": resized_jpeg(FILES["jpeg-progressive"], 20_000, 20_000),
    "png": png(20_000, 20_000, bytes(1000)),
    "webp": resized_webp(FILES["webp"], 16_000, 16_000),
    "strip": resized_jpeg(FILES["jpeg-grey"], 65_000, 1_300),
}
BALLOON = FILES["png"][:33] + b"\xff" + FILES["png"][34:]  # a chunk that claims to have 4 GB


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("least_side", [None, 1280])
def test_bombs_are_refused_by_their_header(name, least_side):
    with pytest.raises(PhotoTooLarge, match=f"pixels; at most {MAX_PIXELS:,}"):
        decode_reduced(BOMBS[name], least_side)


def test_bombs_take_no_memory():
    """In a process of its own, since memory that was taken once counts for good."""
    code = (
        "import resource, sys\n"
        "from stocktake.errors import UnsupportedImage\n"
        "from stocktake.images import check_photo, decode_photo, decode_reduced\n"
        "from tests.unit.test_damaged_photos import BALLOON, BOMBS, FILES\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for data in FILES.values(): decode_photo(data)\n"
        "before = peak()\n"
        "for data in [*BOMBS.values(), BALLOON]:\n"
        "    for read in (decode_photo, check_photo, lambda data: decode_reduced(data, 1280)):\n"
        "        try: read(data)\n"
        "        except UnsupportedImage: continue\n"
        "        sys.exit('a bomb was decoded')\n"
        "print(peak() - before)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(done.stdout) < 20_000  # kB; one of them would take 1.2 GB


JPEG, PNG = FILES["jpeg"], FILES["png"]
ENDLESS = {
    "zeros before the end": (JPEG[:2] + bytes(5000), "header has too many parts"),
    "padding": (JPEG[:2] + b"\xff" * 5000 + JPEG[2:], "header has too many parts"),
    "zeros between segments": (
        JPEG[:2] + bytes(3000) + JPEG[2:20] + bytes(3000) + JPEG[20:],
        "too many parts",
    ),
    "comments": (JPEG[:2] + b"\xff\xfe\0\2" * 2000 + JPEG[2:], "header has too many parts"),
    "ends": (JPEG[:2] + b"\xff\xd9" * 3000 + JPEG[2:], "header has too many parts"),
    "exif": (JPEG[:2] + (b"\xff\xe1\0\x28Exif\0\0" + bytes(32)) * 9 + JPEG[2:], "header has too many parts"),
    "chunks": (PNG[:33] + b"\0\0\0\0junk\0\0\0\0" * 50_000 + PNG[33:], "has more than 50,000 chunks"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_headers_without_end_are_refused_unread(name):
    data, message = ENDLESS[name]
    with pytest.raises(UnsupportedImage, match=message):
        read_info(memoryview(data))


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("jpeg")])
def test_a_little_padding_does_no_harm(name):
    data = FILES[name][:2] + b"\xff\xfe\0\2" * 1000 + bytes(4000) + FILES[name][2:]
    assert read_info(data).format == "jpeg"


def test_a_png_says_where_it_ends():
    for end, message in ((40, "ends before its last chunk"), (len(PNG) - 20, "ends in its chunk 'IDAT'")):
        with pytest.raises(UnsupportedImage, match=message):
            read_info(PNG[:end])


def test_a_photo_of_endless_scans_is_refused_before_they_are_decoded():
    data = FILES["jpeg-progressive"]
    last = data.rindex(b"\xff\xda")
    scans = count_scans(data, 99)
    assert 4 <= scans <= MAX_SCANS

    def with_scans(count, filler=b""):
        return data[:-2] + (filler + data[last:-2]) * (count - scans) + b"\xff\xd9"

    assert count_scans(with_scans(MAX_SCANS), 99) == MAX_SCANS
    assert decode_photo(with_scans(MAX_SCANS)).shape == (61, 93, 3)
    for filler in (b"", b"\xff\x01", b"\xff\xff", b"\xff\xd0", b"\xff\xfe\0\4\xff\xd9"):
        assert decode_photo(with_scans(MAX_SCANS, filler)).shape == (61, 93, 3)
        with pytest.raises(UnsupportedImage, match=f"more than {MAX_SCANS} scans"):
            decode_photo(with_scans(MAX_SCANS + 1, filler))


def test_scans_are_counted_as_decoders_go_through_them():
    baseline, grey = FILES["jpeg"], FILES["jpeg-grey"]
    assert count_scans(baseline, 99) == count_scans(grey, 99) == count_scans(FILES["jpeg-restarts"], 99) == 1
    assert count_scans(baseline[:-2] + baseline[baseline.rindex(b"\xff\xda") :] * 9, 99) == 1
    assert count_scans(FILES["jpeg-progressive"], 3) == 3
    comment = b"\xff\xfe\x00\x06\xff\xda\xff\xda"
    assert count_scans(baseline[:2] + comment * 50 + baseline[2:], 99) == 1
    assert count_scans(b"\xff\xd8" + b"\xff\xda\x00", 99) == 0
    assert count_scans(b"", 99) == 0
