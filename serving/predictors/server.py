"""KServe's model server with our routes, honest readiness and a closed model repository."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import kserve.model_server
import uvicorn.config
from kserve import Model, ModelRepository, ModelServer
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.utils.utils import cpu_count

from serving.predictors.admission import Capacity
from serving.predictors.batching import Scheduler
from serving.predictors.bin_counter import BinCounterModel
from serving.predictors.client_log import OneLineForClients
from serving.predictors.rest import add_routes
from serving.predictors.shelf_detector import ShelfDetectorModel
from stocktake.model_card import ModelCard, Task

logger = logging.getLogger(__name__)

MODELS: dict[Task, Callable[[str, Path, Scheduler, Capacity], Model]] = {
    "shelf-detector": ShelfDetectorModel,
    "bin-counter": BinCounterModel,
}
MAX_BODY_BYTES = 128 << 20


class PredictorDataPlane(DataPlane):
    """KServe's, which calls the server ready whatever its models are."""

    def __init__(self, registry: ModelRepository, models: list[Model]):
        super().__init__(registry)
        self._models = models

    async def ready(self) -> bool:
        """True while every model can answer."""
        return all(model.ready for model in self._models)

    def metadata(self) -> dict[str, Any]:
        """Name, version and the protocol extensions that there really are."""
        return {**super().metadata(), "extensions": ["binary_tensor_data"]}


class RepositoryClosedError(NotImplementedError):
    """Somebody wants to load or unload a model: 501 over REST, UNIMPLEMENTED over gRPC."""

    def __init__(self, model_name: str):
        self.reason = f"{model_name}: models are loaded when the server starts, not over the network"
        super().__init__(self.reason)


class ClosedRepository(ModelRepositoryExtension):
    """KServe's lets anybody unload a model."""

    async def load(self, model_name: str) -> None:
        """Refuse."""
        raise RepositoryClosedError(model_name)

    async def unload(self, model_name: str) -> None:
        """Refuse."""
        raise RepositoryClosedError(model_name)


def load_models(model_dirs: Mapping[str, Path], threads: int | None = None) -> list[Model]:
    """Load a model dir under each name, by the task in its card.

    Raises:
        ModelError: one of them can't be served; says why.
    """
    models, scheduler, capacity = [], Scheduler(threads or cpu_count()), Capacity()
    for name, model_dir in model_dirs.items():
        card = ModelCard.read(model_dir)
        models.append(MODELS[card.task](name, model_dir, scheduler, capacity))
        logger.info("loaded %s from %s: %s, dataset %s", name, model_dir, card.name, card.dataset)
    return models


def serve(models: list[Model], http_port: int, grpc_port: int, max_body_bytes: int = MAX_BODY_BYTES) -> None:
    """Serve until SIGTERM or SIGINT."""
    cv2.setNumThreads(1)  # photos are decoded in parallel already
    logging.getLogger("kserve.trace").setLevel(logging.WARNING)  # two lines for each request
    logging.getLogger("kserve").addFilter(OneLineForClients())
    uvicorn.config.HTTP_PROTOCOLS["auto"] = "serving.predictors.http_protocol:JsonErrorProtocol"
    server = ModelServer(http_port=http_port, grpc_port=grpc_port, workers=1, enable_latency_logging=False)
    server.dataplane = PredictorDataPlane(server.registered_models, models)
    server.model_repository_extension = ClosedRepository(server.registered_models)
    # KServe's limit of 8 MiB is less than some photos; there is no parameter for it.
    kserve.model_server.args.grpc_max_receive_message_length = max_body_bytes
    kserve.model_server.args.grpc_max_send_message_length = max_body_bytes
    add_routes(kserve.model_server.app, server.dataplane, max_body_bytes)
    server.start(models)
