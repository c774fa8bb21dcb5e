"""KServe's model server with our routes, honest readiness and a closed model repository."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import kserve.model_server
import uvicorn.config
import uvloop
from kserve import ModelServer
from kserve.protocol.dataplane import DataPlane

from serving.predictors.access import Access, AccessInterceptor, AccessMiddleware
from serving.predictors.admission import Capacity
from serving.predictors.batching import Scheduler
from serving.predictors.bin_counter import BinCounterModel
from serving.predictors.client_log import OneLineForClients
from serving.predictors.grpc_server import PredictorGrpcServer
from serving.predictors.lifecycle import DrainMiddleware, RestServer, wait_for_signal
from serving.predictors.loading import open_model
from serving.predictors.metadata import EXTENSIONS
from serving.predictors.photo_model import PhotoModel
from serving.predictors.repository import PredictorRepository, RepositoryExtension
from serving.predictors.requests import Limits
from serving.predictors.rest import add_routes
from serving.predictors.settings import ServerSettings
from serving.predictors.shelf_detector import ShelfDetectorModel
from serving.predictors.tracing import configure_tracing
from stocktake.bins.counter import BinCounter
from stocktake.loaded_model import LoadedModel
from stocktake.shelf.detector import ShelfDetector

logger = logging.getLogger(__name__)

LANES_AFTER_SECONDS = 1.0  # who waits for the first answer need not share the cores with what opens lanes

PREDICTORS: dict[type[LoadedModel], Callable[[str, Any, Scheduler, Capacity], PhotoModel[Any]]] = {
    ShelfDetector: ShelfDetectorModel,
    BinCounter: BinCounterModel,
}


class PredictorDataPlane(DataPlane):
    """KServe's, which calls the server ready whatever its models are."""

    def __init__(self, repository: PredictorRepository, draining: Event):
        """`draining` is set when the server is about to end."""
        super().__init__(repository)
        self._repository = repository
        self._draining = draining

    async def ready(self) -> bool:
        """True while every model can answer and the server is not about to end."""
        return self._repository.all_ready and not self._draining.is_set()

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """The same of one model, for probes; a request is answered while the server drains, too."""
        is_ready = await super().model_ready(model_name, disable_predictor_health_check)
        return is_ready and not self._draining.is_set()

    def metadata(self) -> dict[str, Any]:
        """Name, version and the protocol extensions that there really are."""
        return {**super().metadata(), "extensions": EXTENSIONS}


class PredictorServer(ModelServer):
    """KServe's, on one process whatever the number of models: they share the cores, or the GPU."""

    def __init__(self, repository: PredictorRepository, settings: ServerSettings):
        super().__init__(
            http_port=settings.http_port,
            grpc_port=settings.grpc_port,
            workers=1,
            registered_models=repository,
            enable_latency_logging=False,
            grace_period=round(settings.grace_seconds),
        )
        self._settings = settings
        self._limits = Limits(settings.max_body_bytes, settings.deadline_seconds, settings.max_connections)
        self._access = Access(settings.token, settings.admin_token)
        self._draining = Event()
        self.dataplane = PredictorDataPlane(repository, self._draining)
        self.model_repository_extension = RepositoryExtension(repository)

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self.setup_event_loop()
        rest, grpc = self._rest(), self._grpc()
        servers = [asyncio.create_task(rest.start()), asyncio.create_task(grpc.start(self.max_threads))]
        lanes = asyncio.create_task(self._open_lanes())
        was_interrupted = await wait_for_signal(self.registered_models.reload_all, *servers)
        self._draining.set()
        lanes.cancel()  # a model that is being prepared is finished all the same, for a thread can't be ended
        logger.info("draining: not ready, answering what still comes")
        await asyncio.sleep(0 if was_interrupted else self._settings.drain_seconds)
        rest.stop()
        await asyncio.gather(grpc.stop(), *servers)

    async def _open_lanes(self) -> None:
        await asyncio.sleep(LANES_AFTER_SECONDS)
        await self.registered_models.open_lanes()

    def _rest(self) -> RestServer:
        settings, app = self._settings, kserve.model_server.app
        add_routes(app, self.dataplane, self._limits)
        app.add_middleware(AccessMiddleware, access=self._access)
        app.add_middleware(DrainMiddleware, draining=self._draining)
        return RestServer(
            "kserve.model_server:app",
            self.dataplane,
            self.model_repository_extension,
            settings.http_port,
            grace_period=self.grace_period,
            timeout_keep_alive=self.timeout_keep_alive,
            ssl_certfile=settings.ssl_certfile,
            ssl_keyfile=settings.ssl_keyfile,
            max_connections=settings.max_connections,
        )

    def _grpc(self) -> PredictorGrpcServer:
        return PredictorGrpcServer(
            self._settings.grpc_port,
            self.dataplane,
            self.model_repository_extension,
            self._limits,
            self.grace_period,
            [AccessInterceptor(self._access)],
            self._settings.grpc_credentials(),
        )


def serve(
    model_dirs: dict[str, Path], opened: dict[str, Future[LoadedModel]], settings: ServerSettings
) -> None:
    """Serve a model dir under each name until SIGTERM or SIGINT.

    Args:
        model_dirs: by name.
        opened: see `loading.opening`; later, when they are to be loaded anew, they are opened once more.
        settings: of the server.

    Raises:
        ModelError: one of them can't be served; says why.
    """
    cv2.setNumThreads(1)  # photos are decoded in parallel already
    configure_tracing()
    for talkative in ("kserve.trace", "uvicorn.access"):  # lines for each request, which metrics count
        logging.getLogger(talkative).setLevel(logging.WARNING)
    logging.getLogger("kserve").addFilter(OneLineForClients())
    uvicorn.config.HTTP_PROTOCOLS["auto"] = "serving.predictors.http_protocol:JsonErrorProtocol"
    scheduler = Scheduler(settings.threads)
    capacity = Capacity(settings.max_requests, bodies_bytes=settings.max_bodies_bytes)

    def load(name: str, model_dir: Path) -> PhotoModel[Any]:
        first = opened.pop(name, None)
        model = first.result() if first else open_model(model_dir, settings.threads)
        return PREDICTORS[type(model)](name, model, scheduler, capacity)

    repository = PredictorRepository(model_dirs, load)
    try:
        repository.load_all()
        uvloop.run(PredictorServer(repository, settings).serve())
    finally:
        scheduler.close()  # before the interpreter ends, not while it does
