"""Photos are blurred before they are kept or answered, by the function that the documentation shows."""

import asyncio
import hashlib
import io
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.gateway.blurring import load_blur
from serving.gateway.gateway import open_gateway
from serving.gateway.settings import load_gateway_settings
from stocktake.errors import SettingsError
from tests.encoded_photos import encode, smooth_picture
from tests.gateway_pages import Visitor
from tests.gateway_thread import grey_photo
from tests.redis_server import RedisServer

DOCUMENT = Path(__file__).parents[2] / "docs/gateway.md"
PERSON = (40, 20, 104, 84)
OURS = f"""
import io
import threading
import time
from PIL import Image

lock = threading.Lock()

def find_people(picture):
    return [{PERSON}]

def darken(photo):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (50, 50, 50)).save(file, "PNG")
    return file.getvalue()

def fail(photo):
    raise FileNotFoundError("faces.onnx")

def fail_at_small_photos(photo):
    if Image.open(io.BytesIO(photo)).width < 100:
        raise ValueError("too small for the detector")
    return photo

now = most = 0

def count(photo):
    global now, most
    with lock:
        now += 1
        most = max(most, now)
    time.sleep(0.2)  # as long as a detector takes
    with lock:
        now -= 1
    return photo

def return_no_photo(photo):
    return b"secret"

def return_nothing(photo):
    pass

nothing = None
"""


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """`blur_people` of the documentation, `find_people` of ours, and one that cannot be imported."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    folder = tmp_path / "modules"
    folder.mkdir()
    sources = {"blur_people": example, "find_people": OURS, "broken_blur": "1 / 0"}
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    yield
    for name in sources:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


def files_of(gateway):
    return [path for path in (gateway.folder / "photos").rglob("*") if path.is_file()]


def noisy_photo(seed=0):
    """In grey, of which each pixel differs from those beside it."""
    noise = np.random.default_rng(seed).integers(0, 256, (120, 160), np.uint8)
    return encode(Image.fromarray(noise), "PNG")


def assert_blurred(data, original):
    kept, sent = (np.asarray(Image.open(io.BytesIO(each)).convert("L"), int) for each in (data, original))
    left, top, right, bottom = PERSON
    person = kept[top:bottom, left:right]
    assert (np.abs(np.diff(person, axis=1)).mean(), np.abs(np.diff(person, axis=0)).mean()) < (10, 10)
    assert np.abs(kept - sent)[:, : left - 8].mean() < 30, "the rest is as it was"


def send(gateway, data, **options):
    with gateway.client() as client:
        return client.post(
            "/api/photos", data={"task": "bins"}, files={"photo": ("a.png", data, "image/png")}, **options
        )


def test_one_photo(start_gateway):
    gateway, data = start_gateway(blur="blur_people:blur"), noisy_photo()

    answer = send(gateway, data)

    assert answer.status_code == 200, answer.text
    (file,) = files_of(gateway)
    assert file.name == hashlib.sha256(file.read_bytes()).hexdigest() != hashlib.sha256(data).hexdigest()
    assert_blurred(file.read_bytes(), data)
    with gateway.client() as client:
        assert client.get(answer.json()["links"]["image"]).content == file.read_bytes()


def test_a_job(start_gateway, redis):
    gateway, data = start_gateway(blur="blur_people:blur", redis=redis.url), noisy_photo()
    files = [("photos", ("a.png", data, "image/png")), ("photos", ("b.txt", b"no photo", "text/plain"))]

    with gateway.client() as client:
        job = client.post("/api/jobs", data={"task": "bins"}, files=files).json()

    assert [photo["state"] for photo in job["photos"]] == ["queued", "failed"]
    (file,) = files_of(gateway)
    assert_blurred(file.read_bytes(), data)


@pytest.mark.parametrize("count", [1, 2])
def test_photos_of_the_page(start_gateway, redis, count):
    gateway = start_gateway(blur="blur_people:blur", redis=redis.url)
    sent = [noisy_photo(seed) for seed in range(count)]

    answer = Visitor(gateway).check(*sent, task="bins")

    assert answer.status_code == 303, answer.text
    kept = {path.read_bytes() for path in files_of(gateway)}
    assert kept == {sys.modules["blur_people"].blur(photo) for photo in sent}


def test_predictors_see_what_is_kept_and_a_repeated_request_is_known(start_gateway):
    gateway = start_gateway(blur="find_people:darken")

    first, again = (send(gateway, grey_photo(150), headers={"Idempotency-Key": "one"}) for _ in range(2))

    assert first.json()["count"] == 1, "not 3, as on the photo that was sent"
    assert again.json()["id"] == first.json()["id"]


@pytest.mark.parametrize("function", ["fail", "return_no_photo", "return_nothing"])
def test_what_cannot_be_blurred_is_never_kept(start_gateway, redis, caplog, function):
    gateway = start_gateway(blur=f"find_people:{function}", redis=redis.url)
    files = [("photos", ("a.png", noisy_photo(), "image/png"))]

    with gateway.client() as client:
        answers = send(gateway, noisy_photo()), client.post("/api/jobs", data={"task": "bins"}, files=files)
        found = client.get("/api/photos").json()["items"]

    reason = "the photo could not be blurred, so it is not kept; take another one"
    one, job = answers
    assert (one.status_code, one.json()) == (400, {"error": reason})
    assert (job.status_code, job.json()["state"], job.json()["photos"][0]["error"]) == (202, "failed", reason)
    assert ([photo["state"] for photo in found], files_of(gateway)) == (["failed"], [])
    failures = [each for each in caplog.records if "STOCKTAKE_GATEWAY_BLUR failed" in each.message]
    assert [each.levelname for each in failures] == ["ERROR"] * 2


def test_others_of_a_job_are_kept_where_one_cannot_be_blurred(start_gateway, redis):
    gateway, data = start_gateway(blur="find_people:fail_at_small_photos", redis=redis.url), noisy_photo()
    files = [("photos", ("a.png", photo, "image/png")) for photo in (data, grey_photo(50), data)]

    with gateway.client() as client:
        answer = client.post("/api/jobs", data={"task": "bins"}, files=files)

    assert answer.status_code == 202, answer.text
    assert [photo["state"] for photo in answer.json()["photos"]] == ["queued", "failed", "queued"]
    assert [file.read_bytes() for file in files_of(gateway)] == [data]


def test_no_more_photos_are_blurred_at_a_time_than_there_are_cores(start_gateway):
    gateway, cores = start_gateway(blur="find_people:count"), len(os.sched_getaffinity(0))

    with ThreadPoolExecutor(4 * cores) as pool:
        answers = list(pool.map(partial(send, gateway), [grey_photo(50)] * 4 * cores))

    assert all(answer.is_success for answer in answers), answers
    assert 1 <= sys.modules["find_people"].most <= cores


def test_what_is_no_photo_is_the_clients_fault_and_never_blurred(start_gateway):
    answer = send(start_gateway(blur="find_people:fail"), b"GIF89a")

    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:blur", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("find_people:no_such_function", "cannot be imported: AttributeError"),
        ("broken_blur:blur", "cannot be imported: ZeroDivisionError"),
        ("find people", "cannot be imported: ValueError"),
        ("find_people:nothing", "is no function"),
    ],
)
def test_functions_that_there_are_not(name, reason):
    with pytest.raises(SettingsError, match=f"STOCKTAKE_GATEWAY_BLUR: '{name}' {reason}"):
        load_blur(name)


def test_a_gateway_without_its_function_does_not_start(tmp_path):
    settings = load_gateway_settings(blur="no_such_module:blur", database=f"sqlite:///{tmp_path}/records.db")

    async def start():
        async with open_gateway(settings):
            pytest.fail("it started")

    with pytest.raises(SettingsError, match="STOCKTAKE_GATEWAY_BLUR"):
        asyncio.run(start())


def test_without_a_function_a_photo_stays_as_it_came(start_gateway):
    gateway, data = start_gateway(), encode(smooth_picture(64, 64), "PNG")

    assert send(gateway, data).is_success

    assert load_blur(None) is None
    assert [file.read_bytes() for file in files_of(gateway)] == [data]
