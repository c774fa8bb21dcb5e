"""A batch of photos: which go to the GPU, what becomes of them, and that none is lost on the way."""

import io

import numpy as np
import pytest
from PIL import Image

from stocktake.errors import PhotoTooLarge, UnsupportedImage
from stocktake.gpu_decoding import NvJpegDecoder, decode_batch, decode_with, find_decoder
from stocktake.images import decode_reduced
from stocktake.photo_header import MAX_PIXELS
from tests.encoded_photos import encode, encodings, exif_block, png, smooth_picture

FILES = encodings(smooth_picture(331, 219))
BASELINE = {"jpeg", "jpeg-444", "jpeg-restarts", "jpeg-turned", "jpeg-grey", "mpo", "jpeg-lossless"}
LEAST_SIDE = 80


class PillowDecoder:
    """Another decoder of JPEGs than the CPU's: whole photos, no EXIF, and it refuses those of one mode."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.seen: list[bytes] = []

    def decode(self, files):
        self.seen += files
        return [self._decode(Image.open(io.BytesIO(data))) for data in files]

    def _decode(self, image):
        return None if image.mode == self.refused else np.asarray(image.convert("RGB"))


def test_baseline_jpegs_go_to_the_gpu_and_answers_keep_their_order():
    decoder = PillowDecoder(refused="L")

    found = decode_with(decoder, list(FILES.values()), LEAST_SIDE, MAX_PIXELS)

    assert decoder.seen == [data for name, data in FILES.items() if name in BASELINE]
    for name, photo in zip(FILES, found, strict=True):
        expected = decode_reduced(FILES[name], LEAST_SIDE)
        assert (photo.width, photo.height) == (expected.width, expected.height), name
        if name == "jpeg-lossless":  # which only a whole decode can reduce
            assert (photo.reduction, expected.reduction) == (4, 1)
            continue
        assert (photo.reduction, photo.origin) == (expected.reduction, expected.origin), name
        difference = np.abs(photo.pixels.astype(int) - expected.pixels)
        assert (difference.mean() < 2) if name in BASELINE else (difference.max() == 0), name


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("least_side", [LEAST_SIDE, None])
def test_every_orientation(orientation, least_side):
    data = encode(smooth_picture(331, 219), "JPEG", exif=exif_block(orientation))

    (photo,) = decode_with(PillowDecoder(), [data], least_side, MAX_PIXELS)

    expected = decode_reduced(data, least_side)
    assert (photo.width, photo.height, photo.origin) == (expected.width, expected.height, expected.origin)
    assert np.abs(photo.pixels.astype(int) - expected.pixels).mean() < 2


def test_a_bad_photo_does_not_spoil_its_batch():
    good, half = FILES["jpeg"], FILES["jpeg"][:3000]

    first, cut_off, rubbish, large, last = decode_with(
        PillowDecoder(), [good, half, b"no photo", png(331, 220), good], LEAST_SIDE, 331 * 219
    )

    assert (first.pixels == last.pixels).all()
    assert [type(error) for error in (cut_off, rubbish, large)] == [
        UnsupportedImage,
        UnsupportedImage,
        PhotoTooLarge,
    ]


def test_pixels_of_another_size_than_the_header_says_are_not_believed():
    class Liar(PillowDecoder):
        def _decode(self, image):
            return np.asarray(image)[:-1]

    (photo,) = decode_with(Liar(), [FILES["jpeg"]], LEAST_SIDE, MAX_PIXELS)

    assert (photo.pixels == decode_reduced(FILES["jpeg"], LEAST_SIDE).pixels).all()


def test_no_photo_is_no_work():
    decoder = PillowDecoder()
    assert decode_with(decoder, [], LEAST_SIDE, MAX_PIXELS) == decode_batch([], LEAST_SIDE) == []
    assert decoder.seen == []


def test_without_a_gpu_a_batch_is_its_photos_one_by_one():
    if find_decoder() is not None:
        pytest.skip("there is a GPU")
    for photo, data in zip(decode_batch(list(FILES.values()), LEAST_SIDE), FILES.values(), strict=True):
        assert (photo.pixels == decode_reduced(data, LEAST_SIDE).pixels).all()


@pytest.mark.gpu
@pytest.mark.parametrize("least_side", [LEAST_SIDE, None])
def test_the_gpu_agrees_with_the_cpu(least_side):
    found = decode_with(NvJpegDecoder(), list(FILES.values()), least_side, MAX_PIXELS)

    for name, photo in zip(FILES, found, strict=True):
        expected = decode_reduced(FILES[name], least_side)
        assert (photo.width, photo.height) == (expected.width, expected.height), name
        if name != "jpeg-lossless":
            assert np.abs(photo.pixels.astype(int) - expected.pixels).mean() < 2, name
