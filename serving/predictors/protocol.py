"""What a model is asked and what it answers, whatever the protocol: the border between models and the wire.

rest_v2, rest_v1, grpc_v2   take a request apart
sent_of                     what it sends; from here on all ways in are one
answer                      the outputs that it asks for
rest_v2, grpc_v2            write the answer
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kserve import InferInput, InferOutput, InferRequest, InferResponse

from serving.predictors.rest_v1 import is_raw_photo, photos_in_instances, quantities_in_instances
from serving.predictors.tensors import (
    DATATYPE_OF,
    IMAGE,
    MAX_PHOTOS,
    QUANTITY,
    Photo,
    Tensors,
    photos_in,
    quantities_in,
    raw_data,
)
from stocktake.errors import BadRequest

__all__ = ["MAX_PHOTOS", "QUANTITY", "Sent", "Tensors", "answer", "has_bytes", "requested_outputs", "sent_of"]


@dataclass(frozen=True, slots=True)
class Sent:
    """The photos of a request, encoded, and the quantity that was recorded for each, None where none came."""

    photos: list[Photo]
    quantities: list[int | None]

    @property
    def has_quantities(self) -> bool:
        """Whether all photos have one."""
        return None not in self.quantities


def has_bytes(request: InferRequest | dict[str, Any]) -> bool:
    """Whether photos come as they are, so that `sent_of` is done at once; base64 takes its time."""
    if isinstance(request, InferRequest):
        return all(raw_data(tensor) is not None for tensor in request.inputs)
    return is_raw_photo(request)


def sent_of(request: InferRequest | dict[str, Any], inputs: Sequence[str] = (IMAGE,)) -> Sent:
    """What a request of any protocol sends, in its order.

    v2: the input `image`, BYTES of shape [N]; in JSON its elements are base64. Where the model knows it, also
    `expected_quantity`, INT32 of shape [N]. v1: `{"instances": [{"image": {"b64": …}}]}`, where an instance
    may have its `expected_quantity` then.

    Args:
        request: a v2 request, or the object of a v1 request.
        inputs: those that the model knows: `image`, and perhaps `expected_quantity`.

    Raises:
        BadRequest: another input, shape or datatype, no photo, more than MAX_PHOTOS, or a quantity that is no
            whole number of items.
    """
    if not isinstance(request, InferRequest):
        photos = photos_in_instances(request, inputs)
        return Sent(photos, quantities_in_instances(request))
    tensors = _by_name(request, inputs)
    photos = photos_in(tensors[IMAGE])
    if QUANTITY not in tensors:
        return Sent(photos, [None] * len(photos))
    return Sent(photos, [*quantities_in(tensors[QUANTITY], len(photos))])


def requested_outputs(request: InferRequest, available: Sequence[str]) -> list[str]:
    """The names of the outputs that a request asks for, all of them where it names none.

    Raises:
        BadRequest: it names one twice, or one that there is not.
    """
    asked = [output.name for output in request.request_outputs or ()]
    if not set(asked) <= set(available) or len(set(asked)) < len(asked):
        raise BadRequest(f"outputs: name some of {', '.join(available)}, each once")
    return asked or list(available)


def answer(request: InferRequest, tensors: Tensors) -> InferResponse:
    """The response with the outputs that the request asks for. Raises BadRequest: see `requested_outputs`."""
    outputs = [
        InferOutput(name, list(tensor.shape), DATATYPE_OF[tensor.dtype], tensor)
        for name, tensor in ((name, tensors[name]) for name in requested_outputs(request, list(tensors)))
    ]
    return InferResponse(request.id, request.model_name, outputs, request.model_version)


def _by_name(request: InferRequest, known: Sequence[str]) -> dict[str, InferInput]:
    names = [tensor.name for tensor in request.inputs]
    if IMAGE not in names or not set(names) <= set(known) or len(set(names)) < len(names):
        optional = f", and if you like one called '{known[1]}'" if len(known) > 1 else ""
        raise BadRequest(f"found {len(names)} inputs; send one, called '{IMAGE}'{optional}")
    return dict(zip(names, request.inputs, strict=True))
