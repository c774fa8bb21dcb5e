"""What every predictor shares: photos in by any protocol, decoded beside the model, one report for each."""

import asyncio
import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from kserve import InferRequest, InferResponse, Model

from serving.predictors import logs, tracing
from serving.predictors.admission import Capacity
from serving.predictors.batching import PhotoFailed, Scheduler
from serving.predictors.errors import ClientError
from serving.predictors.protocol import Sent, Tensors, answer, has_bytes, requested_outputs, sent_of
from stocktake.errors import BadRequest
from stocktake.gpu_decoding import find_decoder
from stocktake.images import DecodedPhoto, EncodedPhoto, Pixels
from stocktake.loaded_model import LoadedModel

Loaded = TypeVar("Loaded", bound=LoadedModel)


class Report(Protocol):
    """What a model says of one photo."""

    def to_json(self) -> dict[str, Any]:
        """As v1 answers it."""
        ...


class PhotoModel(Model, Generic[Loaded]):
    """A loaded model dir as a KServe model over v1, v2 and gRPC.

    All that takes long runs in the scheduler's threads: the event loop stays free to answer probes.

    Attributes:
        INPUTS: what v2 metadata says of them; -1 for a size that may vary.
        loaded: the model dir.
        scheduler: whose threads do the work; to be closed when the server ends.
        admission: the door that requests come in by, before their body is read.
        digest: of the model dir.
        max_decode: most photos that one call of `decode` should take.
    """

    INPUTS: ClassVar[list[dict[str, Any]]] = [{"name": "image", "datatype": "BYTES", "shape": [-1]}]

    def __init__(self, name: str, loaded: Loaded, scheduler: Scheduler, capacity: Capacity):
        super().__init__(name)
        self.loaded = loaded
        self.scheduler = scheduler
        self.admission = capacity.admission(name, self.lanes * self.max_batch)
        self.digest = loaded.digest
        self.max_decode = self.max_batch if find_decoder() else 1  # found now, for it takes a GPU seconds
        self.ready = True

    @property
    def lanes(self) -> int:
        """How many calls of `infer` run side by side with profit."""
        return self.loaded.runner.lanes

    @property
    def max_batch(self) -> int:
        """Most photos that one call of `infer` should take."""
        return self.loaded.runner.max_batch

    def infer(self, batch: Pixels, alone: bool) -> Iterable[Any]:
        """Run the model on (N, S, S, 3) uint8 RGB, on all cores or on one of `lanes` shares. N answers."""
        return self.loaded.infer(batch, alone)

    def open_lanes(self) -> None:
        """Get ready for `lanes` calls of `infer` side by side, see `LoadedModel.open_lanes`."""
        self.loaded.open_lanes()

    def runner_facts(self) -> dict[str, str]:
        """What runs the model, where, in which precision, and why."""
        runner = self.loaded.runner
        return {
            "engine": runner.engine,
            "device": runner.device,
            "precision": runner.precision,
            "reason": runner.reason,
        }

    def properties(self) -> dict[str, str]:
        """What runs the model, and the card's histograms of photos and answers as JSON, to tell drift by."""
        reference = self.loaded.card.model_dump(include={"reference"})["reference"]
        return {**self.runner_facts(), **({"reference": json.dumps(reference)} if reference else {})}

    def decode(self, photos: Sequence[EncodedPhoto]) -> Sequence[DecodedPhoto | Exception]:
        """Read encoded photos; a BadRequest stands in the place of one that is none."""
        return self.loaded.decode_batch(photos)

    @abstractmethod
    def get_output_types(self) -> list[dict[str, Any]]:
        """The v2 outputs, -1 for a size that may vary."""

    @abstractmethod
    def interpret(self, answer: Any, decoded: DecodedPhoto, quantity: int | None) -> Report:
        """The report of one photo, and of the quantity that was sent with it."""

    @abstractmethod
    def to_tensors(self, reports: list[Any]) -> Tensors:
        """The v2 outputs of the photos of one request."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """The v2 inputs; all but the first are optional."""
        return self.INPUTS

    def outputs_of(self, _sent: Sent) -> list[str]:
        """The outputs that a request can be answered with."""
        return [output["name"] for output in self.get_output_types()]

    async def predict(
        self, payload: InferRequest | dict[str, Any], headers: dict[str, str] | None = None
    ) -> InferResponse | dict[str, Any]:
        """Answer a request of any protocol.

        Raises:
            ClientError: it can't be answered; says why.
            Overloaded: it has more photos than may wait.
            NotReady: the server is about to end.
        """
        logs.bind_request(headers, payload.id if isinstance(payload, InferRequest) else None)
        with tracing.request_span(self.name, headers):
            try:
                return await self._answer(payload)
            except BadRequest as error:
                raise ClientError(error) from error

    async def _answer(self, payload: InferRequest | dict[str, Any]) -> InferResponse | dict[str, Any]:
        names = [tensor["name"] for tensor in self.INPUTS]
        if has_bytes(payload):
            sent = sent_of(payload, names)
        else:
            sent = await asyncio.to_thread(sent_of, payload, names)
        if isinstance(payload, InferRequest):  # before the work, not after
            requested_outputs(payload, self.outputs_of(sent))
        reports = await self._look_at(sent)
        if isinstance(payload, InferRequest):
            return answer(payload, self.to_tensors(reports))
        return {"predictions": [report.to_json() for report in reports]}

    async def _look_at(self, sent: Sent) -> list[Report]:
        with self.admission.photos(len(sent.photos)):
            try:
                return await self.scheduler.run(self, sent.photos, sent.quantities)
            except PhotoFailed as failure:
                cause = failure.__cause__
                if isinstance(cause, BadRequest):
                    raise type(cause)(f"photo {failure.number}: {cause}") from cause
                raise


def bytes_tensor(values: list[bytes]) -> np.ndarray:
    """Byte strings as the (N,) object array of a BYTES tensor."""
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array
