"""How much memory a photo takes: that is unpacked to be shown and measured, or comes in and goes on."""

import asyncio
import json
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from fastapi import Request
from PIL import Image

from serving.gateway import pictures
from serving.gateway.bodies import read_body, read_form
from serving.gateway.predictors import Predictors
from serving.gateway.records.tables import Task
from serving.gateway.settings import load_gateway_settings
from serving.gateway.unpacking import AT_ONCE, Unpacking
from stocktake.drift.measures import memory_to_measure
from stocktake.errors import PhotoTooLarge
from stocktake.photo_header import MAX_PIXELS, PhotoInfo
from stocktake.small_photos import check_memory, memory_of
from tests.encoded_photos import encode, exif_block

WIDTH, HEIGHT = 6000, 4000
BODY = 8 << 20
KINDS = {
    "png": ("RGB", "PNG", {}),
    "png-rgba": ("RGBA", "PNG", {}),
    "webp": ("RGB", "WEBP", {"lossless": True}),
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg-progressive": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
}
# VmHWM: the ru_maxrss of a process that was just started is that of the one that started it
PEAKS = """
import ctypes, json, re, sys
from functools import partial
from pathlib import Path
from serving.gateway import pictures
from serving.gateway.records.tables import Photo, Task
from stocktake.drift.measures import measure_photo
data, (width, height) = sys.stdin.buffer.read(), map(int, sys.argv[1:])
report = {"voids": [{"box": [900, 900, 999, 999]}]}
photo = Photo(task=Task.SHELVES, width=width, height=height, report=report)
def most() -> int:
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
def peak_of(use) -> int:
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM is as much as there is now
    before = most()
    use(data)
    return most() - before
draw = partial(pictures.draw, photo=photo, annotated=False)
uses = {
    "measure": measure_photo,
    "small": partial(draw, width=640),
    "large": partial(draw, width=4096),
    "crop": partial(pictures.crop, photo=photo, number=0),
}
measure_photo(data)  # modules are loaded
print(json.dumps({name: peak_of(use) for name, use in uses.items()}))
"""


def large_photo(kind: str) -> bytes:
    """A file of 24 megapixels in few bytes, which lies on its side."""
    mode, form, options = KINDS[kind]
    return encode(Image.new(mode, (WIDTH, HEIGHT)), form, exif=exif_block(6), **options)


def peaks_of(data: bytes) -> dict[str, int]:
    """Bytes that a process takes for each use of it, beyond those that it has when the photo is there."""
    command = [sys.executable, "-c", PEAKS, str(HEIGHT), str(WIDTH)]
    done = subprocess.run(command, input=data, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_picture_takes_more_memory_than_is_set_aside_for_it(kind):
    data, rest = large_photo(kind), 16 << 20
    peaks = peaks_of(data)
    assert peaks.pop("measure") < memory_to_measure(data) + rest
    for use, peak in peaks.items():
        assert peak < min(pictures.memory_to_draw(data), AT_ONCE) + rest, use
    if kind == "png":
        assert peaks["small"] < 1.35 * 4 * WIDTH * HEIGHT, "once, though it is converted and turned"


@pytest.mark.parametrize(
    ("kind", "mode", "scans", "most"),
    [
        ("png", "RGBA", 1, MAX_PIXELS),
        ("jpeg", "CMYK", 1, MAX_PIXELS),
        ("jpeg", "RGB", 10, 53_000_000),
        ("jpeg", "CMYK", 10, 40_000_000),
        ("webp", "RGB", 1, 20_000_000),
    ],
)
def test_a_photo_that_no_decoder_has_room_for_is_not_taken(kind, mode, scans, most):
    def of(pixels: int) -> PhotoInfo:
        return PhotoInfo(pixels // 4000, 4000, kind, mode, 1, scans > 1, scans)

    check_memory(of(most))
    assert memory_of(of(most), 4000) <= 2 * AT_ONCE
    if most < MAX_PIXELS:
        with pytest.raises(
            PhotoTooLarge, match=r"which is unpacked whole, at most [\d,]+ are taken: send it"
        ):
            check_memory(of(most + 1_000_000))


def test_such_a_photo_is_a_413(start_gateway):
    data = encode(Image.new("RGB", (6000, 3500)), "WEBP", lossless=True)
    with start_gateway().client() as client:
        answer = client.post(
            "/api/photos", params={"task": "bins"}, content=data, headers={"Content-Type": "image/webp"}
        )
    assert answer.status_code == 413
    assert answer.json()["error"] == (
        "the photo has 6000x3500 pixels; of a webp, which is unpacked whole, at most 20,000,000 are taken: "
        "send it smaller, or as an ordinary jpeg"
    )


def test_photos_are_unpacked_together_as_far_as_they_fit():
    unpacking, two, one_more = Unpacking(100), threading.Barrier(2), threading.Event()

    def unpack(size: int) -> None:
        with unpacking.hold(size):
            two.wait(60)
            assert not one_more.is_set(), "it is too large to be there at the same time"

    def wait_for_all() -> None:
        with unpacking.hold(1000):  # more than there is
            one_more.set()

    with ThreadPoolExecutor(3) as pool:
        with unpacking.hold(100):
            waiting = [pool.submit(unpack, 50), pool.submit(unpack, 50)]
        for each in waiting:
            each.result(60)
        pool.submit(wait_for_all).result(60)
        with suppress(ZeroDivisionError), unpacking.hold(100):
            raise ZeroDivisionError
        pool.submit(wait_for_all).result(60)


def test_what_does_not_wait_gets_nothing_where_it_does_not_fit():
    unpacking = Unpacking(100)
    with unpacking.hold(60), unpacking.hold(50, wait=False) as is_held:
        assert not is_held
    with unpacking.hold(60), unpacking.hold(40, wait=False) as is_held:
        assert is_held
        with unpacking.hold(1, wait=False) as is_more_held:
            assert not is_more_held
    with unpacking.hold(100, wait=False) as is_held:
        assert is_held, "all was given back"


def request_of(body: bytes, content_type: str) -> Request:
    """A request whose body comes in blocks."""
    starts = list(range(0, len(body), 65536))

    async def receive():
        start = starts.pop(0)
        return {"type": "http.request", "body": body[start : start + 65536], "more_body": bool(starts)}

    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    return Request({"type": "http", "headers": headers}, receive)


async def read_one(request: Request, is_form: bool) -> bytes:
    if not is_form:
        return await read_body(request, BODY)
    (part,) = [part async for part in read_form(request, 1, BODY)]
    return part.data


@pytest.mark.parametrize("is_form", [False, True])
def test_a_body_is_held_once(is_form):
    kind, photo = "multipart/form-data; boundary=x" if is_form else "image/jpeg", bytes(BODY)
    head = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    request = request_of(head + photo + b"\r\n--x--\r\n" if is_form else photo, kind)

    async def read() -> int:
        tracemalloc.start()
        try:
            assert await read_one(request, is_form) == photo
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert asyncio.run(read()) < 1.25 * BODY


def test_a_photo_goes_to_its_predictor_without_a_copy():
    photo, came = b"\xff" * BODY, []

    async def take(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        came.append(length)
        while length:
            length -= len(await reader.read(65536))
        writer.write(b'HTTP/1.1 413 X\r\nContent-Length: 14\r\n\r\n{"error": "x"}')
        await writer.drain()
        writer.close()

    async def ask() -> int:
        async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            predictors = Predictors(load_gateway_settings(bins_url=url))
            tracemalloc.start()
            try:
                with pytest.raises(PhotoTooLarge):
                    await predictors.infer(Task.BINS, photo)
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                await predictors.close()

    assert asyncio.run(ask()) < BODY / 2
    assert came[0] > BODY
