"""The Open Inference Protocol (v2) over REST, and the older v1, to and from KServe's request types.

KServe 0.21 turns the binary tensors of a REST request into lists and text (`InferRequest.from_bytes`), on
which a JPEG fails, and answers many malformed requests with 500. So REST requests are taken apart here; over
gRPC KServe's own conversion is right. From `sent_of` on, all ways in are one.
"""

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput
from numpy.typing import NDArray
from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from stocktake.errors import BadRequest

IMAGE, QUANTITY = "image", "expected_quantity"  # the inputs that there are
MAX_QUANTITY = 2**31 - 1  # what an INT32 holds
HEADER_LENGTH = "inference-header-content-length"
MAX_PHOTOS = 64
MAX_DIGITS = 12  # of a length in a header
DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32", np.dtype(np.object_): "BYTES"}

Parameters = dict[str, StrictBool | StrictInt | StrictFloat | StrictStr]
Size = Annotated[int, Field(strict=True, ge=0)]
Tensors = Mapping[str, NDArray[Any]]

_NO_INSTANCE = 'instances[{}]: is not {{"image": {{"b64": …}}}}'

# What an error may repeat of a request: the protocol's own names and the places in its lists.
_FIELDS = {
    "id",
    "inputs",
    "outputs",
    "parameters",
    "name",
    "shape",
    "datatype",
    "data",
    *map(str, range(1000)),
}


class _Input(BaseModel):
    name: StrictStr
    shape: list[Size]
    datatype: StrictStr
    parameters: Parameters = {}
    data: list[Any] | None = None


class _Output(BaseModel):
    name: StrictStr
    parameters: Parameters = {}


class _Header(BaseModel):
    id: StrictStr | None = None
    parameters: Parameters = {}
    inputs: list[_Input] = Field(min_length=1)
    outputs: list[_Output] | None = None


def parse_infer_request(body: bytes, header_length: str | None, model_name: str) -> InferRequest:
    """Take the body of a v2 REST request apart, with or without the binary tensor extension.

    Args:
        body: JSON, followed by the bytes of the binary tensors in the order of the inputs.
        header_length: value of the header Inference-Header-Content-Length, None where it is absent.
        model_name: from the path.

    Raises:
        BadRequest: the JSON or the framing is wrong; names the field, never what it holds.
    """
    json_length = len(body) if header_length is None else _header_length(header_length, len(body))
    try:
        header = _Header.model_validate_json(body[:json_length])
    except ValidationError as error:
        raise BadRequest(_explain(error)) from None
    raw: list[bytes | None] = []
    rest = body[json_length:]
    for number, tensor in enumerate(header.inputs):
        size = tensor.parameters.get("binary_data_size")
        if (size is None) == (tensor.data is None):
            raise BadRequest(f"inputs.{number}: give either 'data' or the parameter 'binary_data_size'")
        if size is None:
            raw.append(None)
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise BadRequest(f"inputs.{number}: binary_data_size does not fit the {len(rest)} bytes left")
        raw.append(rest[:size])
        rest = rest[size:]
    if rest:
        raise BadRequest(f"{len(rest)} bytes follow the last input")
    return InferRequest(
        model_name,
        [
            InferInput(tensor.name, tensor.shape, tensor.datatype, tensor.data, dict(tensor.parameters))
            for tensor in header.inputs
        ],
        request_id=header.id,
        raw_inputs=raw,
        parameters=dict(header.parameters),
        request_outputs=(
            None
            if header.outputs is None
            else [RequestedOutput(output.name, dict(output.parameters)) for output in header.outputs]
        ),
    )


@dataclass(frozen=True, slots=True)
class Sent:
    """The photos of a request, encoded, and the quantity that was recorded for each, None where none came."""

    photos: list[bytes]
    quantities: list[int | None]

    @property
    def has_quantities(self) -> bool:
        """Whether all photos have one."""
        return None not in self.quantities


def sent_of(request: InferRequest | dict[str, Any], inputs: Sequence[str] = (IMAGE,)) -> Sent:
    """What a request of any protocol sends, in its order.

    v2: the input `image`, BYTES of shape [N]; in JSON its elements are base64. Where the model knows it, also
    `expected_quantity`, INT32 of shape [N]. v1: `{"instances": [{"image": {"b64": …}}]}`, an instance may
    have its `expected_quantity`.

    Args:
        request: a v2 request, or the object of a v1 request.
        inputs: those that the model knows: `image`, and perhaps `expected_quantity`.

    Raises:
        BadRequest: another input, shape or datatype, no photo, more than MAX_PHOTOS, or a quantity that is no
            whole number of items.
    """
    if isinstance(request, InferRequest):
        tensors = _tensors(request, inputs)
        photos = _v2_photos(tensors[IMAGE])
        given = tensors.get(QUANTITY)
        quantities: list[int | None] = _v2_quantities(given) if given else [None] * len(photos)
    else:
        instances = _v1_instances(request)
        photos = [_v1_photo(instance, number) for number, instance in enumerate(instances)]
        known = QUANTITY in inputs
        quantities = [
            _quantity(instance[QUANTITY], f"instances[{number}].{QUANTITY}")
            if known and QUANTITY in instance
            else None
            for number, instance in enumerate(instances)
        ]
    if not 1 <= len(photos) <= MAX_PHOTOS:
        raise BadRequest(f"found {len(photos)} photos; send 1 to {MAX_PHOTOS} in a request")
    if len(quantities) != len(photos):
        raise BadRequest(
            f"input '{QUANTITY}': has {len(quantities)} elements for {len(photos)} photos; send one for each"
        )
    return Sent(photos, quantities)


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
    # A gRPC client that sent typed contents expects them back: KServe's encoder sends lists as typed contents
    # and arrays as raw ones.
    typed = request.from_grpc and not request.use_binary_outputs
    outputs = [
        InferOutput(
            name, list(tensor.shape), DATATYPES[tensor.dtype], tensor.ravel().tolist() if typed else tensor
        )
        for name, tensor in ((name, tensors[name]) for name in requested_outputs(request, list(tensors)))
    ]
    return InferResponse(request.id, request.model_name, outputs)


def encode_infer_response(request: InferRequest, response: InferResponse) -> tuple[bytes, int | None]:
    """Write a response of `answer` as the body of a v2 REST response.

    An output's parameter `binary_data` says whether it is binary; without it, the request's parameter
    `binary_data_output` does.

    Returns:
        The body, and the length of its JSON where binary tensors follow it.
    """
    wishes = {output.name: output.binary_data for output in request.request_outputs or ()}
    outputs, raw = [], []
    for output in response.outputs:
        fields = {"name": output.name, "shape": output.shape, "datatype": output.datatype}
        wish = wishes.get(output.name)
        if request.use_binary_outputs if wish is None else wish:
            raw.append(_to_bytes(output.data))
            fields["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            values = output.data.ravel().tolist()
            fields["data"] = [v.decode() for v in values] if output.datatype == "BYTES" else values
        outputs.append(fields)
    header = {"model_name": response.model_name, "outputs": outputs}
    if request.id is not None:
        header["id"] = request.id
    content = orjson.dumps(header)
    return b"".join([content, *raw]), len(content) if raw else None


def parse_v1(body: bytes) -> dict[str, Any]:
    """The JSON object of a v1 request. Raises BadRequest if it is none."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("the body is not JSON; send JSON, or a photo as image/jpeg, png or webp") from None
    if not isinstance(payload, dict):
        raise BadRequest('the body is not a JSON object; send {"instances": [{"image": {"b64": …}}]}')
    return payload


def quantity_of_text(text: str) -> int:
    """The `expected_quantity` of a photo that is posted as it is, from the query. Raises BadRequest."""
    is_number = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    return _quantity(int(text) if is_number else text, f"query parameter {QUANTITY}")


def _quantity(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_QUANTITY:  # a bool is an int, too
        raise BadRequest(f"{where}: is not a whole number of items from 0 to {MAX_QUANTITY}")
    return value


def _v1_instances(payload: dict[str, Any]) -> list[dict[str, Any]]:
    instances = payload.get("instances")
    if not isinstance(instances, list):
        raise BadRequest('instances: there is no such list; send {"instances": [{"image": {"b64": …}}]}')
    for number, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise BadRequest(_NO_INSTANCE.format(number))
    return instances


def _v1_photo(instance: dict[str, Any], number: int) -> bytes:
    image = instance.get(IMAGE)
    if isinstance(image, dict) and set(image) == {"b64"}:
        image = _from_base64(image["b64"], f"instances[{number}].image.b64")
    if not isinstance(image, bytes):  # bytes: a photo that was posted as it is
        raise BadRequest(_NO_INSTANCE.format(number))
    return image


def _tensors(request: InferRequest, known: Sequence[str]) -> dict[str, InferInput]:
    names = [tensor.name for tensor in request.inputs]
    if IMAGE not in names or not set(names) <= set(known) or len(set(names)) < len(names):
        optional = f", and if you like one called '{known[1]}'" if len(known) > 1 else ""
        raise BadRequest(f"found {len(names)} inputs; send one, called '{IMAGE}'{optional}")
    return dict(zip(names, request.inputs, strict=True))


def _v2_photos(tensor: InferInput) -> list[bytes]:
    _check_tensor(tensor, "BYTES")
    return [
        element if isinstance(element, bytes) else _from_base64(element, f"input '{IMAGE}': element {number}")
        for number, element in enumerate(_elements(tensor))
    ]


def _v2_quantities(tensor: InferInput) -> list[int | None]:
    _check_tensor(tensor, "INT32")
    _check_quantities(tensor.data or ())  # numpy would take True, "3" and 3.7 for whole numbers
    return [*_check_quantities(_elements(tensor))]


def _check_quantities(values: Sequence[Any]) -> list[int]:
    return [_quantity(value, f"input '{QUANTITY}': element {number}") for number, value in enumerate(values)]


def _check_tensor(tensor: InferInput, datatype: str) -> None:
    """Its name is one of ours, so that errors may say it."""
    if tensor.datatype != datatype or len(tensor.shape) != 1 or tensor.shape[0] < 0:
        raise BadRequest(
            f"input '{tensor.name}': datatype must be {datatype} and shape [N], one element for each photo"
        )


def _elements(tensor: InferInput) -> list[Any]:
    try:
        return list(tensor.as_numpy().tolist())
    except (ValueError, struct.error):
        raise BadRequest(f"input '{tensor.name}': its data does not fit its shape") from None


def _from_base64(text: Any, where: str) -> bytes:
    if not isinstance(text, str):
        raise BadRequest(f"{where}: is not text; send the photo as base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{where}: is not base64") from None


def _to_bytes(tensor: NDArray[Any]) -> bytes:
    if tensor.dtype != np.object_:
        return tensor.tobytes()
    return b"".join(struct.pack("<I", len(element)) + element for element in tensor.ravel())


def _header_length(value: str, body_length: int) -> int:
    is_number = value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS
    if not is_number or int(value) > body_length:
        raise BadRequest(
            f"header Inference-Header-Content-Length: give the JSON's length, up to {body_length} bytes"
        )
    return int(value)


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(part if part in _FIELDS else "…" for part in map(str, first["loc"])) or "body"
    return f"{where}: {first['msg']}"
