"""Photos on their way through a server, by the stages of `stocktake.loaded_model`, and who looks at them."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from stocktake.images import DecodedPhoto, EncodedPhoto, Pixels

Stage = Literal["decode", "infer", "interpret"]


class StagedModel(Protocol):
    """A loaded model. Its methods are called from several threads at once."""

    name: str

    @property
    def lanes(self) -> int:
        """How many calls of `infer` run side by side with profit."""
        ...

    @property
    def max_batch(self) -> int:
        """Most photos that one call of `infer` should take; more than 1 where a device of its own runs it."""
        ...

    @property
    def max_decode(self) -> int:
        """Most photos that one call of `decode` should take; more than 1 where a device of its own reads."""
        ...

    def decode(self, photos: Sequence[EncodedPhoto]) -> Sequence[DecodedPhoto | Exception]:
        """Read encoded photos; what is wrong with one stands in its place."""
        ...

    def infer(self, batch: Pixels, alone: bool) -> Iterable[Any]:
        """Run (N, S, S, 3) uint8 RGB on all cores, or on one of `lanes` shares of them. N answers."""
        ...

    def interpret(self, answer: Any, decoded: DecodedPhoto, quantity: int | None) -> Any:
        """The report of one photo."""
        ...


@dataclass(slots=True, eq=False)
class Photo:
    """One photo on its way to its report."""

    request: "Request"
    number: int  # in its request, from 0
    data: EncodedPhoto  # none once it is decoded
    quantity: int | None
    since: float  # s, when it began to wait for its next stage
    waited: float = 0.0  # s, in all queues so far
    decoded: DecodedPhoto = field(init=False)
    answer: Any = field(init=False)
    failure: Exception | None = None  # of the stage that has just been done


class Request:
    """The photos that are answered together.

    Attributes:
        left: photos without a report.
        over: answered, failed or given up: what still runs of it is thrown away.
        parent: the span that its stages belong to, None without tracing.
    """

    def __init__(
        self,
        model: StagedModel,
        photos: Sequence[EncodedPhoto],
        quantities: Sequence[int | None],
        now: float,
        parent: Any = None,
    ):
        self.model = model
        self.parent = parent
        self.waiting = deque(
            Photo(self, number, data, quantity, now)
            for number, (data, quantity) in enumerate(zip(photos, quantities, strict=True))
        )
        self.left = len(self.waiting)
        self.reports: list[Any] = [None] * self.left
        self.over = False


class Task(NamedTuple):
    """One stage of one photo, or of a batch of one model."""

    stage: Stage
    model: StagedModel
    photos: list[Photo]
    alone: bool = False
