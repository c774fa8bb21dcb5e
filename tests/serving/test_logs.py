import asyncio
import io
import json
import logging
import subprocess
import sys
import warnings
from datetime import datetime, timedelta

import pytest

from serving import logs
from stocktake.photo_header import read_info
from tests.encoded_photos import damaged_exif, encode, smooth_picture


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def configured():
    """`configure_logging` on a stream; everything is as it was afterwards."""
    loggers = [logging.getLogger(name) for name in (None, "py.warnings", *logs.SERVER_LOGGERS)]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]

    def configure(stream=None):
        stream = stream or io.StringIO()
        logs.configure_logging(stream)
        return lambda: stream.getvalue().splitlines()

    yield configure
    logging.captureWarnings(False)
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def in_new_context(function, *arguments):
    """As a server handles a request: in a task, so in a context of its own."""

    async def call():
        return function(*arguments)

    return asyncio.run(call())


def test_a_line_of_json(configured):
    lines = configured()
    logging.getLogger("stocktake.test").warning("seen %d\ntwice", 7)

    (line,) = lines()
    event = json.loads(line)
    assert list(event) == ["time", "level", "logger", "message"]
    assert (event["level"], event["logger"], event["message"]) == (
        "WARNING",
        "stocktake.test",
        "seen 7\ntwice",
    )
    assert datetime.fromisoformat(event["time"]).utcoffset() == timedelta(0)


def test_a_traceback_stays_in_its_line(configured):
    lines = configured()
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("stocktake.test").exception("failed")

    (line,) = lines()
    assert json.loads(line)["traceback"].splitlines()[-1] == "ValueError: broken"


def test_plain_text_on_a_terminal(configured):
    lines = configured(Terminal())
    logging.getLogger("stocktake.test").info("hello")

    (line,) = lines()
    assert line.endswith("stocktake.test INFO hello")


@pytest.mark.parametrize("name", logs.SERVER_LOGGERS)
def test_servers_write_once_and_as_we_do(configured, name):
    import kserve.logging

    lines = configured()
    server_loggers = kserve.logging.logger
    assert server_loggers.handlers  # or KServe's server would set up all of them again
    logging.getLogger(name).info("hello")

    (line,) = lines()
    assert json.loads(line)["logger"] == name


def test_warnings_are_events_too(configured):
    lines = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("careful", UserWarning, stacklevel=1)

    assert "careful" in json.loads(lines()[0])["message"]


def test_damaged_exif_is_no_event(configured):
    """Pillow warns of each of its tags."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        lines = configured()
        logging.captureWarnings(True)
        read_info(encode(smooth_picture(64, 64), "PNG", exif=damaged_exif(100)))

    assert lines() == []


@pytest.mark.parametrize(
    ("headers", "in_body", "found"),
    [
        ({"x-request-id": "from-header"}, "from-body", "from-header"),
        ({"x-request-id": ""}, "from-body", "from-body"),
        ({}, "from-body", "from-body"),
        (None, "ä b", "ä b"),
    ],
)
def test_the_id_that_the_client_gave(configured, headers, in_body, found):
    lines = configured()

    def handle():
        assert logs.bind_request(headers, in_body) == found
        logging.getLogger("stocktake.test").info("hello")

    in_new_context(handle)
    logging.getLogger("stocktake.test").info("bye")

    assert [json.loads(line).get("request_id") for line in lines()] == [found, None]


@pytest.mark.parametrize("given", [None, "", "a\nb", "\x1b[31m", "x" * 129])
def test_a_request_without_a_usable_id_gets_one(given):
    first = in_new_context(logs.bind_request, {}, given)
    second = in_new_context(logs.bind_request, {}, given)
    assert first != second
    assert {len(first), len(second)} == {32}


def test_a_later_step_keeps_the_id_of_an_earlier_one():
    def handle():
        return logs.bind_request({}), logs.bind_request({}, None), logs.bind_request({}, "now known")

    first, second, third = in_new_context(handle)
    assert (first, third) == (second, "now known")


def test_a_real_server_writes_nothing_but_json(tmp_path):
    """KServe's server sets up logging when it is made, uvicorn when it starts."""
    program = """
import asyncio, logging
from serving.logs import configure_logging
configure_logging()
import kserve, uvicorn
from kserve import model_server
server = kserve.ModelServer(workers=1)
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})
async def main():
    import httpx
    serving = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    task = asyncio.create_task(serving.serve())
    while not serving.started:
        await asyncio.sleep(0.01)
    port = serving.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient() as client:
        await client.get(f"http://127.0.0.1:{port}/path")
    serving.should_exit = True
    await task
logging.getLogger("httpx").setLevel("WARNING")
asyncio.run(main())
kserve.logging.logger.info("the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"uvicorn.error", "uvicorn.access", "kserve"} <= {event["logger"] for event in events}
    assert sum('"GET /path HTTP/1.1" 204' in event["message"] for event in events) == 1
    assert sum(event["message"] == "the end" for event in events) == 1


def test_a_request_has_not_the_name_of_the_one_before_it():
    def one_after_the_other():
        logs.begin_request({"x-request-id": "first"})
        first = logs.bind_request({})
        logs.begin_request({})
        return first, logs.bind_request({})

    first, second = in_new_context(one_after_the_other)
    assert first == "first"
    assert len(second) == 32
