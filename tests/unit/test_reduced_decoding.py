"""JPEGs decoded at a fraction of their size: their pixels, and where those lie in the whole photo."""

import numpy as np
import pytest
from PIL import Image

from stocktake.images import REDUCE, ReducedPhoto, choose_reduction, decode_photo, decode_reduced, shrink
from tests.encoded_photos import encode, encodings, exif_block, smooth_picture

JPEGS = [name for name in encodings(smooth_picture(32, 32)) if name.startswith(("jpeg", "mpo"))]


@pytest.mark.parametrize(
    ("width", "height", "least_side", "reduction"),
    [
        (3264, 2448, 1280, 2),
        (4032, 3024, 1280, 2),
        (2448, 3264, 832, 2),
        (2448, 3264, 816, 4),
        (2448, 3264, 408, 8),
        (2448, 3264, 100, 8),
        (1920, 1080, 1280, 1),
        (1920, 1080, 960, 2),
        (1919, 1080, 960, 1),
        (8000, 1, 640, 8),
        (1, 1, 640, 1),
        (5000, 5000, None, 1),
    ],
)
def test_the_longer_side_keeps_what_is_asked_for(width, height, least_side, reduction):
    assert choose_reduction(width, height, least_side) == reduction


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize(("width", "height"), [(320, 200), (317, 203), (9, 255)])
def test_every_size_and_orientation(width, height, reduction, orientation):
    data = encode(smooth_picture(width, height), "JPEG", exif=exif_block(orientation))
    whole = decode_photo(data)

    photo = decode_reduced(data, max(width, height) // reduction)

    assert (photo.height, photo.width) == whole.shape[:2]
    assert photo.reduction == reduction
    assert photo.pixels.shape[:2] == tuple(-(-side // reduction) for side in whole.shape[:2])
    assert photo.pixels.flags.c_contiguous
    assert all(-reduction < start <= 0 for start in photo.origin)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize(("width", "height"), [(640, 400), (637, 403)])
def test_a_spot_is_where_it_is_in_the_whole_photo(width, height, reduction, orientation):
    """To a tenth of a pixel of the whole photo, though a pixel here is up to eight of them."""
    across, down = np.arange(width) + 0.5 - 0.7 * width, np.arange(height)[:, None] + 0.5 - 0.3 * height
    light = 250 * np.exp(-(across**2 + down**2) / 25**2)
    data = encode(Image.fromarray(light.astype(np.uint8)), "JPEG", quality=98, exif=exif_block(orientation))

    photo = decode_reduced(data, max(width, height) // reduction)

    there, here = centre_of(decode_photo(data)), centre_of(photo.pixels)
    box = np.array([[*here, *here]], np.float32)
    assert photo.to_whole(box)[0, :2] == pytest.approx(there, abs=0.1)
    assert photo.to_pixels(photo.to_whole(box)) == pytest.approx(box, abs=1e-4)


def centre_of(pixels):
    light = pixels[..., 1].astype(float)
    rows, columns = np.indices(light.shape) + 0.5
    return (columns * light).sum() / light.sum(), (rows * light).sum() / light.sum()


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("least_side", [40, 80, 160])
def test_pixels_are_means_of_the_whole_photo(name, least_side):
    data = encodings(smooth_picture(331, 219))[name]

    photo, whole = decode_reduced(data, least_side), ReducedPhoto.of(decode_photo(data), least_side)

    if "lossless" in name:  # which no decoder reduces
        assert (photo.reduction, photo.pixels.shape, photo.width) == (1, (219, 331, 3), 331)
        return
    assert photo.reduction == whole.reduction == 331 // least_side
    assert (photo.width, photo.height, photo.pixels.shape) == (whole.width, whole.height, whole.pixels.shape)
    if photo.origin == whole.origin:
        assert np.abs(photo.pixels.astype(int) - whole.pixels).mean() < 1
        assert np.abs(photo.pixels.astype(int) - whole.pixels).max() <= 12


@pytest.mark.parametrize("name", ["png", "png-16", "webp"])
def test_other_formats_stay_whole(name):
    data = encodings(smooth_picture(331, 219))[name]

    photo = decode_reduced(data, 40)

    assert (photo.reduction, photo.origin) == (1, (0, 0))
    assert (photo.pixels == decode_photo(data)).all()


def test_means_are_exact():
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)

    halved = shrink(pixels, 2)

    expected = pixels.reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - expected).max() <= 0.5
    assert shrink(pixels, 1) is pixels
    assert shrink(np.full((5, 7, 3), 9, np.uint8), 4).tolist() == np.full((2, 2, 3), 9).tolist()
    row = np.repeat([[[0], [0], [90]]], 3, axis=2).astype(np.uint8)
    assert shrink(row, 2)[..., 0].tolist() == [[0, 90]]  # past its edge a photo goes on as it ends
