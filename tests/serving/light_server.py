"""A server with our REST and gRPC, in a thread, around a model that looks at nothing and can be held up."""

import asyncio
import contextlib
import threading
import time
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from grpc import aio as grpc_aio
from kserve import InferRequest, Model

from serving.predictors.errors import ClientError, Overloaded
from serving.predictors.grpc_server import PredictorGrpcServer
from serving.predictors.http_protocol import JsonErrorProtocol
from serving.predictors.photo_model import bytes_tensor
from serving.predictors.protocol import answer, requested_outputs, sent_of
from serving.predictors.repository import PredictorRepository, RepositoryExtension
from serving.predictors.requests import Limits
from serving.predictors.rest import add_routes
from serving.predictors.server import PredictorDataPlane
from stocktake.errors import BadRequest
from tests.ports import free_ports

NAME, DIGEST = "light", "0123456789abcdef" * 4
VERSION = DIGEST[:12]
LIMITS = Limits(body_bytes=200_000, seconds=30)


class Places:
    """As many requests as `limit` at a time, and each with `room` bytes of body."""

    def __init__(self):
        self.limit = 1000
        self.room = 10**9
        self.taken = 0

    @contextlib.contextmanager
    def place(self):
        if self.taken >= self.limit:
            raise Overloaded(7)
        self.taken += 1
        try:
            yield Body(self.room)
        finally:
            self.taken -= 1


class Body:
    """That of one request."""

    def __init__(self, room):
        self.room = room

    def hold(self, size):
        self.room -= size
        if self.room < 0:
            raise Overloaded(7)


class LightModel(Model):
    """Says how many bytes each photo has, and gives them back; waits while it is `held`.

    A photo `fail` breaks it in a way that nobody foresaw.
    """

    def __init__(self):
        super().__init__(NAME)
        self.digest = DIGEST
        self.admission = Places()
        self.held = False
        self.inside = self.cancelled = 0
        self.headers = None
        self.ready = True

    def get_input_types(self):
        return [
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
            {"name": "expected_quantity", "datatype": "INT32", "shape": [-1]},
        ]

    def get_output_types(self):
        return [
            {"name": "size", "datatype": "INT32", "shape": [-1]},
            {"name": "half", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "echo", "datatype": "BYTES", "shape": [-1]},
        ]

    def runner_facts(self):
        return {"engine": "none", "device": "none", "precision": "exact"}

    def properties(self):
        return self.runner_facts()

    async def predict(self, payload, headers=None):
        self.headers = headers
        try:
            sent = sent_of(payload, ["image", "expected_quantity"])
            if isinstance(payload, InferRequest):
                requested_outputs(payload, ["size", "half", "echo"])
        except BadRequest as error:
            raise ClientError(error) from error
        await self._wait()
        photos = [bytes(photo) for photo in sent.photos]
        if photos == [b"fail"]:
            raise RuntimeError("kumquat")
        sizes = np.array([len(photo) for photo in photos], np.int32)
        if isinstance(payload, InferRequest):
            half = (sizes / 2).astype(np.float32)[:, None]
            return answer(payload, {"size": sizes, "half": half, "echo": bytes_tensor(photos)})
        return predicted(*sizes.tolist())

    async def _wait(self):
        self.inside += 1
        try:
            while self.held:
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1


def predicted(*sizes):
    """What v1 answers to photos of these sizes."""
    return {"predictions": [{"size": size} for size in sizes]}


class LightServer:
    """Runs from its creation until `close`.

    Attributes:
        model: the one that answers.
        draining: set, it makes the server not ready.
        rest: Uvicorn's server.
    """

    def __init__(self, limits=LIMITS, max_connections=None, keep_alive=60, grace=0):
        self.http_port, self.grpc_port = free_ports(2)
        self.model, self.draining = LightModel(), threading.Event()
        repository = PredictorRepository({NAME: Path("light")}, lambda _name, _model_dir: self.model)
        repository.load_all()
        dataplane = PredictorDataPlane(repository, self.draining)
        app = FastAPI()
        add_routes(app, dataplane, limits)
        self.rest = uvicorn.Server(
            uvicorn.Config(
                app,
                port=self.http_port,
                http=JsonErrorProtocol,
                log_config=None,
                timeout_keep_alive=keep_alive,
                limit_concurrency=max_connections,
            )
        )
        self._grpc = PredictorGrpcServer(
            self.grpc_port, dataplane, RepositoryExtension(repository), limits, grace
        )
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(60)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc(self):
        return f"127.0.0.1:{self.grpc_port}"

    def reset(self):
        """Everything as it was, once all requests have ended."""
        self.model.held, self.model.ready = False, True
        self.draining.clear()
        wait_until(lambda: not self.model.inside and not self.model.admission.taken)
        self.model.admission = Places()
        self.model.cancelled = 0

    def close(self):
        self.model.held = False
        self.rest.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    async def _serve(self):
        rest, grpc = asyncio.create_task(self.rest.serve()), asyncio.create_task(self._grpc.start())
        async with grpc_aio.insecure_channel(self.grpc) as channel:
            await channel.channel_ready()
        while not self.rest.started:
            assert not rest.done()
            await asyncio.sleep(0.01)
        self._ready.set()
        await rest
        await self._grpc.stop()
        await grpc


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
