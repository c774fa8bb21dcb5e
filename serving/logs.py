"""The log: one line of JSON for each event, or plain text where somebody looks at a terminal."""

import contextvars
import json
import logging
import random
import sys
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

REQUEST_ID_HEADER = "x-request-id"
LONGEST_ID = 128
SERVER_LOGGERS = ("kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access")

_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)


class JsonFormatter(logging.Formatter):
    """`time` (UTC), `level`, `logger`, `message`; where they exist `request_id` and the `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := _request_id.get():
            event["request_id"] = request_id
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


def configure_logging(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Write everything that this process logs, KServe and uvicorn included, to one stream in one form.

    Args:
        stream: None for stderr.
        level: lowest level that is written.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s")
        if stream.isatty()
        else JsonFormatter()
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    # Pillow warns of each damaged tag, of which a photo may have tens of thousands; Python keeps each text.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for name in SERVER_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    # KServe configures the logging of both once more, unless its logger has a handler.
    kserve = logging.getLogger("kserve")
    kserve.addHandler(handler)
    kserve.propagate = False


def begin_request(headers: Mapping[str, str]) -> None:
    """`bind_request` where a request begins: Uvicorn starts pipelined ones in the context of another."""
    _request_id.set(None)
    bind_request(headers)


def bind_request(headers: Mapping[str, str] | None, request_id: str | None = None) -> str:
    """Name the request that this task answers, in every line that it logs from now on.

    Args:
        headers: of the HTTP request, or the metadata of the gRPC call; names in lower case.
        request_id: that of the v2 protocol, for requests without the header.

    Returns:
        X-Request-Id, else `request_id`, else the id that the request has already, else a new one. What is
        longer than 128 characters or can't be printed is not taken.
    """
    for given in ((headers or {}).get(REQUEST_ID_HEADER), request_id, _request_id.get()):
        if given and len(given) <= LONGEST_ID and given.isprintable():
            break
    else:
        given = f"{random.getrandbits(128):032x}"  # a name, no secret: uuid4 would ask the kernel each time
    _request_id.set(given)
    return given
