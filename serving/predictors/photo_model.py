"""What every predictor shares: photos in by any protocol, decoded beside the model, one report for each."""

import asyncio
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from kserve import InferRequest, InferResponse, Model

from serving.predictors.errors import ClientError
from serving.predictors.protocol import Sent, Tensors, answer, requested_outputs, sent_of
from stocktake.errors import BadRequest
from stocktake.images import DecodedPhoto, Pixels


class Report(Protocol):
    """What a model says of one photo."""

    def to_json(self) -> dict[str, Any]:
        """As v1 answers it."""
        ...


class PhotoModel(Model):
    """A loaded model dir as a KServe model over v1, v2 and gRPC.

    Decoding and interpreting run in a pool of `threads`, the model in a thread of its own that uses all
    cores: the event loop stays free to answer probes, and one photo is decoded while another is looked at.

    Attributes:
        INPUTS: what v2 metadata says of them; -1 for a size that may vary.
    """

    INPUTS: ClassVar[list[dict[str, Any]]] = [{"name": "image", "datatype": "BYTES", "shape": [-1]}]

    def __init__(self, name: str, threads: int):
        super().__init__(name)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="photos")
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        # A decoded photo takes up to 240 MB: however many wait, only a few are unpacked.
        self._unpacked = asyncio.Semaphore(threads + 1)

    @abstractmethod
    def get_output_types(self) -> list[dict[str, Any]]:
        """The v2 outputs, -1 for a size that may vary."""

    @abstractmethod
    def decode(self, data: bytes) -> DecodedPhoto:
        """Read an encoded photo. Raises BadRequest if that can't be done."""

    @abstractmethod
    def infer(self, batch: Pixels) -> Any:
        """Run the model on (N, S, S, 3) uint8 RGB; a sequence of N answers."""

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
        self, payload: InferRequest | dict[str, Any], _headers: dict[str, str] | None = None
    ) -> InferResponse | dict[str, Any]:
        """Answer a request of any protocol. Raises ClientError if it can't be answered."""
        names = [tensor["name"] for tensor in self.INPUTS]
        try:
            sent = await asyncio.get_running_loop().run_in_executor(self._pool, sent_of, payload, names)
            if isinstance(payload, InferRequest):  # before the work, not after
                requested_outputs(payload, self.outputs_of(sent))
            reports = await self._look_at_all(sent)
        except BadRequest as error:
            raise ClientError(error) from error
        if isinstance(payload, InferRequest):
            return answer(payload, self.to_tensors(reports))
        return {"predictions": [report.to_json() for report in reports]}

    async def _look_at_all(self, sent: Sent) -> list[Report]:
        tasks = [
            asyncio.create_task(self._look_at(number, cast(bytes, data), quantity))
            for number, (data, quantity) in enumerate(zip(sent.photos, sent.quantities, strict=True))
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # one bad photo fails the request
                task.cancel()

    async def _look_at(self, number: int, data: bytes, quantity: int | None) -> Report:
        run = asyncio.get_running_loop().run_in_executor
        async with self._unpacked:
            try:
                decoded = await run(self._pool, self.decode, data)
            except BadRequest as error:
                raise type(error)(f"photo {number}: {error}") from error
            answers = await run(self._engine, self.infer, decoded.tensor[None])
            return await run(self._pool, self.interpret, answers[0], decoded, quantity)


def bytes_tensor(values: list[bytes]) -> np.ndarray:
    """Byte strings as the (N,) object array of a BYTES tensor."""
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array
