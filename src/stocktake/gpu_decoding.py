"""Photos decoded a batch at a time: baseline JPEGs on a GPU where there is one, everything else on the CPU.

On a GPU the decoder is NVIDIA's nvImageCodec, which comes without torch. It decodes whole photos, and the CPU
then averages them: whole ones should differ by a grey level or two from the CPU's pixels, reduced ones by one
on average and by more at sharp edges. What is not a baseline JPEG, does not end as one, or is refused by the
GPU goes to the CPU, so that both accept the same files. Not yet run on a GPU: benchmarks/gpu/decode.py.
"""

import logging
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np

from stocktake.errors import UnsupportedImage
from stocktake.images import (
    EncodedPhoto,
    Pixels,
    ReducedPhoto,
    choose_reduction,
    decode_reduced,
    encode_jpeg,
    shrink,
    turn_upright,
)
from stocktake.photo_header import MAX_PIXELS, PhotoInfo, read_info

log = logging.getLogger(__name__)

END_OF_JPEG = b"\xff\xd9"
TRIAL_SIDE = 64  # px


class BatchDecoder(Protocol):
    """Decodes several JPEGs at once."""

    def decode(self, files: Sequence[EncodedPhoto]) -> list[Pixels | None]:
        """(H, W, 3) uint8 RGB as stored, whatever their EXIF orientation; None where it can't."""


class NvJpegDecoder:
    """nvImageCodec on the first GPU. May be called from several threads; batches take turns.

    Raises RuntimeError where there is no GPU, no driver, or no nvJPEG.
    """

    def __init__(self) -> None:
        from nvidia import nvimgcodec

        kinds = (nvimgcodec.HW_GPU_ONLY, nvimgcodec.GPU_ONLY, nvimgcodec.HYBRID_CPU_GPU)
        self._decoder: Any = nvimgcodec.Decoder(
            backends=[nvimgcodec.Backend(kind) for kind in kinds], options=":fancy_upsampling=1"
        )
        self._params: Any = nvimgcodec.DecodeParams(
            apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.SRGB
        )
        self._lock = threading.Lock()
        trial = encode_jpeg(np.zeros((TRIAL_SIDE, TRIAL_SIDE, 3), np.uint8))
        if self.decode([trial])[0] is None:
            raise RuntimeError("nvImageCodec decodes no JPEG here; install nvidia-nvjpeg-cu12 beside it")

    def decode(self, files: Sequence[EncodedPhoto]) -> list[Pixels | None]:
        """See `BatchDecoder`."""
        with self._lock:
            images = self._decoder.decode([bytes(file) for file in files], params=self._params)
        return [None if image is None else np.ascontiguousarray(image.cpu()) for image in images]


@cache
def find_decoder() -> BatchDecoder | None:
    """The GPU's decoder, None where JPEGs are decoded on the CPU; looked for once."""
    try:
        decoder = NvJpegDecoder()
    except Exception as error:  # no package, no driver, or whatever else: a CPU can do it
        log.info("JPEGs are decoded on the CPU: %s", error)
        return None
    log.info("baseline JPEGs are decoded on the GPU by nvImageCodec")
    return decoder


def decode_batch(
    photos: Sequence[EncodedPhoto], least_side: int | None, max_pixels: int = MAX_PIXELS
) -> list[ReducedPhoto | UnsupportedImage]:
    """Decode photos, in their order; where one can't be decoded its error stands in its place.

    Args:
        photos: JPEG, PNG or WebP files.
        least_side: px that the longer side of each keeps at least; None for whole photos.
        max_pixels: of each; more are refused.
    """
    return decode_with(find_decoder(), photos, least_side, max_pixels)


def decode_with(
    decoder: BatchDecoder | None, photos: Sequence[EncodedPhoto], least_side: int | None, max_pixels: int
) -> list[ReducedPhoto | UnsupportedImage]:
    """`decode_batch` with a decoder of one's own; None for the CPU's."""
    done: dict[int, ReducedPhoto] = {}
    if decoder is not None:
        suited = {n: info for n, data in enumerate(photos) if (info := _suited(data, max_pixels))}
        decoded = _on_gpu(decoder, [photos[n] for n in suited]) if suited else []
        for (n, info), pixels in zip(suited.items(), decoded, strict=True):
            if pixels is not None and pixels.shape == (*info.stored_size[::-1], 3):
                reduction = choose_reduction(info.width, info.height, least_side)
                done[n] = turn_upright(shrink(pixels, reduction), info, reduction)
    return [done.get(n) or _on_cpu(data, least_side, max_pixels) for n, data in enumerate(photos)]


def _on_gpu(decoder: BatchDecoder, files: Sequence[EncodedPhoto]) -> Sequence[Pixels | None]:
    try:
        return decoder.decode(files)
    except Exception as error:  # nvImageCodec's own, or none left of the GPU's memory
        log.warning("the GPU decoded none of %d photos, so the CPU does: %s", len(files), error)
        return [None] * len(files)


def _on_cpu(data: EncodedPhoto, least_side: int | None, max_pixels: int) -> ReducedPhoto | UnsupportedImage:
    try:
        return decode_reduced(data, least_side, max_pixels)
    except UnsupportedImage as error:
        return error


def _suited(data: EncodedPhoto, max_pixels: int) -> PhotoInfo | None:
    """What the header of a baseline JPEG says; None for anything else, and for one that is cut off."""
    try:
        info = read_info(data, max_pixels)
    except UnsupportedImage:
        return None
    baseline = info.format == "jpeg" and info.mode in ("RGB", "L") and not info.progressive
    return info if baseline and data[-len(END_OF_JPEG) :] == END_OF_JPEG else None
