"""What happens to every request for inference, over REST and gRPC, in this order:

    the model is known, in this version     404
    it is ready                             503
    there is a place for one more request   429, before the body is read
    the model answers in time               504

Deadlines, clients that went away and the end of the server cancel the work; that gives its place back.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from kserve import InferRequest, Model, ModelRepository
from kserve.errors import ModelNotReady

from serving.predictors.errors import DeadlineExceeded, Overloaded, UnknownModel
from serving.predictors.metadata import version_of
from serving.predictors.parameters import whole_number
from stocktake.errors import BadRequest

# Milliseconds that a request may take. Envoy tells it to what it routes to; other clients may send it, too.
TIMEOUT_HEADER = "x-envoy-expected-rq-timeout-ms"

# When a gRPC call came, by the event loop's time; its message may have taken long.
call_began: ContextVar[float] = ContextVar("call_began")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take."""

    body_bytes: int = 128 << 20  # as it comes, and unpacked
    seconds: float = 30.0  # from its first byte to its answer
    calls: int = 1000  # at a time over gRPC, those included that watch the server


async def find_model(models: ModelRepository, name: str, version: str | None = None) -> Model:
    """The model that answers a request; it stays that request's model if another takes its place meanwhile.

    Args:
        models: those that are served.
        name: from the request.
        version: None or "" for whichever is served.

    Raises:
        UnknownModel, ModelNotReady: there is no such model or version, or it can't answer yet.
    """
    model = known_model(models, name, version)
    if not await model.healthy():
        raise ModelNotReady(name)
    return model


def known_model(models: ModelRepository, name: str, version: str | None = None) -> Model:
    """As `find_model`, ready or not."""
    model = models.get_model(name)
    if model is None:
        raise UnknownModel
    if version and version != version_of(model):
        raise UnknownModel(f"the version of {name} that is served is {version_of(model)}")
    return model


@contextmanager
def place_in(model: Model) -> Iterator[Callable[[int], None]]:
    """A place among the requests that wait or run, while it is open. Raises Overloaded if there is none.

    Gives what is to be told of the bytes of the body, as they come; that raises Overloaded, too.
    """
    admission = getattr(model, "admission", None)
    if admission is None:
        yield lambda _size: None
        return
    with admission.place() as place:
        yield place.hold


def check_room(models: ModelRepository) -> None:
    """For requests that don't say yet which model they are for. Raises Overloaded if none has a place."""
    refusal = None
    for model in models.get_models().values():
        try:
            with place_in(model):
                return
        except Overloaded as error:
            refusal = error
    if refusal is not None:
        raise refusal


def allowed_seconds(header: str | None, most: float) -> float:
    """How long a request may take: by the value of its TIMEOUT_HEADER, and at most `most`.

    Raises:
        BadRequest: it is no number of milliseconds.
    """
    milliseconds = whole_number(header or "0")
    if milliseconds is None:
        raise BadRequest(f"header {TIMEOUT_HEADER}: give a number of milliseconds")
    return min(milliseconds / 1e3 or most, most)  # 0: no limit of the client's


@asynccontextmanager
async def deadline(until: float) -> AsyncIterator[asyncio.Timeout]:
    """Cancel what is done within at a time of the event loop. Raises DeadlineExceeded."""
    try:
        async with asyncio.timeout_at(until) as clock:
            yield clock
    except TimeoutError as error:
        if not clock.expired():  # another clock's
            raise
        raise DeadlineExceeded(
            "the request was not answered in the time that it has; send fewer photos, or give it more"
        ) from error


def shorten(clock: asyncio.Timeout, seconds: float | None) -> None:
    """Let the deadline be in `seconds`, if that is before it; None leaves it as it is."""
    until = clock.when()
    if seconds is not None and until is not None:
        clock.reschedule(min(until, asyncio.get_running_loop().time() + seconds))


async def ask(model: Model, payload: InferRequest | dict[str, Any], headers: dict[str, str]) -> Any:
    """The model's answer: an InferResponse to an InferRequest, an object for JSON to one of v1."""
    response, _ = await model(payload, headers=headers)
    return response
