"""The models of a server, and how one takes the place of another while requests are answered."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kserve import Model, ModelRepository
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from serving.predictors.errors import NotReady, UnknownModel
from serving.predictors.metrics import (
    RUNNER_LABELS,
    count_closed_lanes,
    model_loaded,
    model_trained,
    model_unloaded,
)
from stocktake.errors import StocktakeError

logger = logging.getLogger(__name__)

LoadModel = Callable[[str, Path], Model]


class PredictorRepository(ModelRepository):
    """Models by name, each with the folder that it came from, which stays known while it is unloaded."""

    def __init__(self, model_dirs: dict[str, Path], load_model: LoadModel):
        super().__init__()
        self._model_dirs = model_dirs
        self._load_model = load_model
        self._one_at_a_time = asyncio.Lock()  # two models in memory are enough

    @property
    def all_ready(self) -> bool:
        """Whether every model that the server was started with can answer."""
        return all(name in self.models and self.models[name].ready for name in self._model_dirs)

    def load_all(self) -> None:
        """Load every model. Raises ModelError if one can't be; says why."""
        for name, model_dir in self._model_dirs.items():
            self.update(self._load_model(name, model_dir))

    def update(self, model: Model, name: str | None = None) -> None:
        """Let a model answer from now on; only then do the metrics speak of it."""
        super().update(model, name)
        facts = model.runner_facts()
        model_trained(model.name, model.created)
        model_loaded(model.name, digest=model.digest, **{label: facts[label] for label in RUNNER_LABELS})

    async def open_lanes(self) -> None:
        """Get each model ready for several photos side by side, while it looks at one at a time.

        One that can't be goes on like that; the log and a metric say so.
        """
        for name, model in list(self.models.items()):
            async with self._one_at_a_time:
                if self.models.get(name) is model:  # what was loaded since has its lanes
                    await asyncio.to_thread(_open_lanes, name, model)

    async def reload(self, name: str) -> None:
        """Load what is now in a model's folder, warm it up, and let it answer from the next request on.

        Requests that the older model has accepted are answered by it. Where loading fails it stays.

        Raises:
            UnknownModel: the server was started without such a model.
            NotReady: the folder's content can't be served; says why.
        """
        if name not in self._model_dirs:
            raise UnknownModel
        async with self._one_at_a_time:
            try:
                model = await asyncio.to_thread(self._load_model, name, self._model_dirs[name])
            except StocktakeError as error:
                logger.error("%s was not loaded: %s", name, error)
                raise NotReady(f"{name} was not loaded: {error}") from error
            self.update(model)

    async def reload_all(self) -> None:
        """`reload` each; one that fails is in the log and stays as it is."""
        for name in self._model_dirs:
            try:
                await self.reload(name)
            except NotReady:
                continue
            except Exception:  # a fault of ours in one of them is none of the others'
                logger.exception("%s was not loaded", name)

    def unload(self, name: str) -> None:
        """Forget a model; requests that it has accepted are answered. Raises KeyError if it is not loaded."""
        del self.models[name]
        model_unloaded(name)


def _open_lanes(name: str, model: Model) -> None:
    try:
        model.open_lanes()
    except Exception:  # of whatever kind: nobody waits for this thread once the server ends
        logger.exception("%s looks at one photo at a time, for its lanes cannot be opened", name)
        count_closed_lanes(name)
    else:
        logger.info("%s looks at %d photos side by side", name, model.lanes)


class RepositoryExtension(ModelRepositoryExtension):
    """Loading and unloading over the network. Who may is `access.Access`'s to say."""

    def __init__(self, repository: PredictorRepository):
        super().__init__(repository)
        self._repository = repository

    async def load(self, model_name: str) -> dict[str, Any]:
        """See `PredictorRepository.reload`. What it returns is what KServe's gRPC answer reads."""
        await self._repository.reload(model_name)
        return {"name": model_name, "load": True}

    async def unload(self, model_name: str) -> dict[str, Any]:
        """See `PredictorRepository.unload`. Raises UnknownModel."""
        try:
            self._repository.unload(model_name)
        except KeyError:
            raise UnknownModel from None
        return {"name": model_name, "unload": True}
