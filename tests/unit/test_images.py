import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from stocktake.errors import PhotoTooLarge, UnsupportedImage
from stocktake.images import check_photo, decode_photo, encode_jpeg
from stocktake.photo_header import MAX_BYTES, read_info
from tests.encoded_photos import damaged_exif, encode, exif_block, png, smooth_picture

WIDTH, HEIGHT = 317, 203


@pytest.fixture(scope="module")
def picture():
    return smooth_picture(WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_photos_are_turned_upright(picture, kind, orientation):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(picture, kind, exif=exif_block(orientation), **options)
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    photo = decode_photo(data)

    info = check_photo(data)
    assert photo.shape == upright.shape == (info.height, info.width, 3)
    assert photo.flags.c_contiguous
    assert np.abs(photo.astype(int) - upright).max() <= (3 if kind == "JPEG" else 0)
    assert (info.format, info.mode, info.exif_orientation) == (kind.lower(), "RGB", orientation)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("field", range(6, 34))
@pytest.mark.parametrize("value", [0, 3, 255])
def test_damaged_exif_leaves_size_and_pixels_in_agreement(picture, field, value):
    block = bytearray(exif_block(6).tobytes())
    block[field : field + 1] = [value]

    data = encode(picture, "JPEG", exif=bytes(block))

    info = check_photo(data)
    assert decode_photo(data).shape == (info.height, info.width, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_endless_exif_only_the_beginning_is_read(picture, kind):
    data = encode(picture, kind, exif=damaged_exif(60_000))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert read_info(data).exif_orientation == 1
    assert len(warned) < 6000


@pytest.mark.parametrize(
    ("mode", "kind", "close"),
    [
        ("L", "JPEG", 3),
        ("CMYK", "JPEG", 8),
        ("L", "PNG", 0),
        ("LA", "PNG", 0),
        ("P", "PNG", 0),
        ("1", "PNG", 0),
        ("RGBA", "PNG", 0),
    ],
)
def test_every_mode_becomes_rgb(picture, mode, kind, close):
    data = encode(picture.convert(mode), kind, **({"quality": 95} if kind == "JPEG" else {"lossless": True}))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB")).astype(int)

    photo = decode_photo(data)

    assert (photo.shape, photo.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert np.abs(photo - expected).max() <= close
    assert check_photo(data).mode == mode


def test_sixteen_bits_are_scaled_to_eight():
    ramp = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)
    data = encode(Image.fromarray(ramp), "PNG")

    photo = decode_photo(data)

    assert check_photo(data).mode == "I;16"
    assert np.abs(photo.astype(float) - ramp[..., None] / 257).max() <= 1


def test_transparency_is_ignored(picture):
    pixels = np.asarray(picture)
    half_clear = Image.fromarray(np.dstack([pixels, np.full((HEIGHT, WIDTH), 128, np.uint8)]))

    for data in (encode(half_clear, "PNG"), encode(half_clear, "WEBP", lossless=True)):
        assert (decode_photo(data) == pixels).all()
        assert check_photo(data).mode == "RGBA"


def test_first_frame_of_an_animation(picture):
    data = encode(picture, "WEBP", lossless=True, save_all=True, append_images=[picture.convert("L")])

    assert (decode_photo(data) == np.asarray(picture)).all()
    assert check_photo(data).width == WIDTH


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})],
)
def test_truncated_photos_are_refused_wherever_they_end(picture, kind, options):
    data = encode(picture, kind, **options)
    check_photo(data)

    for end in [*range(64, len(data), len(data) // 40), *range(len(data) - 20, len(data))]:
        for read in (check_photo, decode_photo):
            with pytest.raises(UnsupportedImage):
                read(data[:end])


def test_tail_of_zeros_is_truncation(picture):
    data = encode(picture, "JPEG")
    half = len(data) // 2

    with pytest.raises(UnsupportedImage, match="jpeg is truncated or damaged"):
        check_photo(data[:half] + bytes(len(data) - half))


def test_bytes_after_the_end_do_no_harm(picture):
    assert check_photo(encode(picture, "JPEG") + b"trailer").width == WIDTH


def test_format_is_told_by_the_bytes(picture):
    assert check_photo(encode(picture, "PNG")).format == "png"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(picture, kind):
    with pytest.raises(UnsupportedImage, match="not a JPEG, PNG or WebP"):
        check_photo(encode(picture, kind))


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8\xff\xe0", b"secret words", bytes(1000), b"RIFF\0\0\0\0WEBP"]
)
def test_rubbish_is_refused_without_being_quoted(data):
    with pytest.raises(UnsupportedImage) as caught:
        check_photo(data)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (8_001, 10_000), (1, 2**31 - 1)])
def test_decompression_bombs_are_refused_by_their_header(width, height):
    for read in (check_photo, decode_photo):
        with pytest.raises(PhotoTooLarge, match="pixels; at most 80,000,000"):
            read(png(width, height))


def test_limit_of_pixels_can_be_set(picture):
    data = encode(picture, "PNG")

    assert decode_photo(data, max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(PhotoTooLarge, match=f"{WIDTH}x{HEIGHT}"):
        decode_photo(data, max_pixels=WIDTH * HEIGHT - 1)


def test_photos_of_too_many_bytes_are_refused(picture):
    with pytest.raises(PhotoTooLarge, match="bytes"):
        read_info(encode(picture, "JPEG") + bytes(MAX_BYTES))


def test_smallest_photo():
    data = png(1, 1, b"\0\x0a\x14\x1e")

    assert decode_photo(data).tolist() == [[[10, 20, 30]]]
    for smallest in (data, encode(Image.new("L", (1, 1)), "JPEG"), encode(Image.new("RGB", (1, 1)), "WEBP")):
        assert (check_photo(smallest).width, check_photo(smallest).height) == (1, 1)


def test_photos_wider_than_the_decoder_takes():
    with pytest.raises(UnsupportedImage, match="can't be decoded"):
        check_photo(png(2**21, 1, bytes(1 + 3 * 2**21)))


def test_jpegs_are_written_from_colour_and_grey(picture):
    pixels = np.asarray(picture)
    for given in (pixels, pixels[..., 0]):
        written = decode_photo(encode_jpeg(np.ascontiguousarray(given), quality=95))
        assert np.abs(written.astype(int) - given.reshape(HEIGHT, WIDTH, -1)).mean() < 4
