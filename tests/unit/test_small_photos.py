"""Pillow's small photos beside those that models see."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from stocktake.errors import PhotoTooLarge, UnsupportedImage
from stocktake.images import decode_photo
from stocktake.small_photos import encode_small, open_small
from tests.encoded_photos import encode, encodings, exif_block, png, smooth_picture

WIDTH, HEIGHT = 317, 203
FILES = encodings(smooth_picture(WIDTH, HEIGHT))
SHORT_OF_MEMORY = """
import io, resource
from PIL import Image
from stocktake.small_photos import open_small
file = io.BytesIO()
Image.new("RGB", (10_000, 6_000)).save(file, "PNG")
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20),) * 2)
try:
    open_small(file.getvalue(), None)
except MemoryError:
    print("no memory")
"""
NO_PILLOW = "jpeg-lossless"  # its decoder does not know that process


def far(one, other):
    return np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean()


@pytest.mark.parametrize("name", sorted(set(FILES) - {NO_PILLOW}))
def test_a_photo_is_what_models_see_of_it(name):
    seen = decode_photo(FILES[name])

    whole, grey = open_small(FILES[name], None), open_small(FILES[name], None, "L")

    assert (whole.mode, whole.size) == ("RGB", seen.shape[1::-1])
    assert (grey.mode, grey.size) == ("L", whole.size)
    assert far(whole, seen) < (8 if name == "jpeg-cmyk" else 1)
    assert far(grey, whole.convert("L")) < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_reduced_and_turned_upright(kind, orientation):
    data = encode(smooth_picture(WIDTH, HEIGHT), kind, exif=exif_block(orientation), quality=95)
    seen = Image.fromarray(decode_photo(data))

    quarter = open_small(data, 79)

    assert quarter.size == (-(-seen.width // 4), -(-seen.height // 4))
    assert far(quarter, seen.resize(quarter.size, Image.Resampling.BOX)) < 4


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-grey", "png", "png-palette", "webp"])
def test_the_longer_side_keeps_what_is_asked_for(kind):
    data = FILES[kind]

    sides = {least: open_small(data, least).width for least in (1000, 317, 159, 158, 80, 79, 40, 39, 1)}

    assert sides == {1000: 317, 317: 317, 159: 317, 158: 159, 80: 159, 79: 80, 40: 80, 39: 40, 1: 40}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1"])
def test_tiles_do_not_show(mode):
    picture = smooth_picture(1300, 1100).convert(mode)
    data = encode(picture, "PNG", compress_level=1)

    for side, factor in ((1300, 1), (650, 2), (300, 4), (1, 8)):
        found = open_small(data, side)
        assert np.array_equal(found, picture.convert("RGB").reduce(factor)), factor


def test_sixteen_bits_are_scaled_to_eight():
    ramp = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)

    grey = np.asarray(open_small(encode(Image.fromarray(ramp), "PNG"), None, "L"))

    assert np.abs(grey - ramp / 257).max() <= 1


def test_photos_that_cannot_be_decoded():
    half = FILES["jpeg"][: len(FILES["jpeg"]) // 2]
    for data in (half, FILES["png"][:-2000], FILES[NO_PILLOW], b"<svg/>"):
        with pytest.raises(UnsupportedImage):
            open_small(data, 100)


def test_memory_that_is_not_there_is_no_fault_of_the_photo():
    """In a process of its own, which may take 64 MiB more; 60 million pixels are 180 MB."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, timeout=120
    )

    assert done.stdout == "no memory\n", done.stderr


def test_too_many_pixels_are_refused_by_the_header():
    with pytest.raises(PhotoTooLarge, match="pixels; at most"):
        open_small(png(20_000, 20_000), 100)
    with pytest.raises(PhotoTooLarge, match=f"{WIDTH}x{HEIGHT}"):
        open_small(FILES["jpeg"], 100, max_pixels=WIDTH * HEIGHT - 1)


def test_what_is_written_has_no_metadata():
    data = encode(smooth_picture(WIDTH, HEIGHT), "JPEG", exif=exif_block(6), comment=b"by Anna")
    turned = open_small(data, None)

    file = encode_small(turned)

    written = open_small(file, None)
    assert (written.size, written.getexif()) == (turned.size, {})
    assert b"Anna" not in file
    assert far(written, turned) < 4
