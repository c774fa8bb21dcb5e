"""The Open Inference Protocol over REST, with its binary tensor extension, to and from KServe's types.

KServe 0.21 turns the binary tensors of a REST request into lists and text (`InferRequest.from_bytes`), on
which a JPEG fails, and answers many malformed requests with 500. So requests are taken apart here.
"""

from typing import Annotated, Any

import orjson
from kserve import InferInput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput
from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from serving.predictors.json_body import check_values
from serving.predictors.parameters import check_output_parameters, check_request_parameters, whole_number
from serving.predictors.tensors import Datatype, to_binary
from stocktake.errors import BadRequest

HEADER_LENGTH = "Inference-Header-Content-Length"

Parameters = dict[str, StrictBool | StrictInt | StrictFloat | StrictStr]
Size = Annotated[int, Field(strict=True, ge=0, lt=2**63)]  # as in gRPC; errors say it

# What an error may repeat of a request: the protocol's own names and the places in its lists.
_FIELDS = {"id", "inputs", "outputs", "parameters", "name", "shape", "datatype", "data"}


class RequestInput(BaseModel):
    """An input; its data is in `data`, or follows the JSON where `binary_data_size` says how long it is."""

    name: StrictStr
    shape: list[Size]
    datatype: Datatype
    parameters: Parameters = {}
    data: list[Any] | None = None


class RequestOutput(BaseModel):
    """An output that is asked for; its parameter `binary_data` says in which form."""

    name: StrictStr
    parameters: Parameters = {}


class InferenceRequest(BaseModel):
    """A request for inference; its parameter `binary_data_output` is for outputs that say nothing."""

    id: StrictStr | None = None
    parameters: Parameters = {}
    inputs: list[RequestInput] = Field(min_length=1)
    outputs: list[RequestOutput] | None = None


def parse_infer_request(
    body: bytes | bytearray, header_length: str | None, model_name: str, model_version: str | None = None
) -> InferRequest:
    """Take the body of a v2 REST request apart, with or without the binary tensor extension.

    Args:
        body: JSON, followed by the bytes of the binary tensors in the order of the inputs. The inputs of the
            request that is returned are views on them.
        header_length: value of the header Inference-Header-Content-Length, None where it is absent.
        model_name, model_version: what answers.

    Raises:
        BadRequest: the JSON or the framing is wrong; names the field, never what it holds.
    """
    length = json_length(header_length, len(body))
    view = memoryview(body).toreadonly()
    header = _parse_header(body if length == len(body) else bytes(view[:length]))
    return InferRequest(
        model_name,
        [
            InferInput(tensor.name, tensor.shape, tensor.datatype, tensor.data, dict(tensor.parameters))
            for tensor in header.inputs
        ],
        request_id=header.id,
        raw_inputs=_binary_inputs(header.inputs, view[length:]),
        parameters=header.parameters,
        request_outputs=(
            None
            if header.outputs is None
            else [RequestedOutput(output.name, output.parameters) for output in header.outputs]
        ),
        model_version=model_version,
    )


def encode_infer_response(request: InferRequest, response: InferResponse) -> tuple[bytes, int | None]:
    """Write a response of `protocol.answer` as the body of a v2 REST response.

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
            raw.append(to_binary(output.data))
            fields["parameters"] = {"binary_data_size": len(raw[-1])}
        elif output.datatype == "BYTES":
            fields["data"] = [element.decode() for element in output.data.ravel()]
        else:
            fields["data"] = output.data.ravel()
        outputs.append(fields)
    header = {"model_name": response.model_name, "outputs": outputs}
    if response.model_version is not None:
        header["model_version"] = response.model_version
    if request.id is not None:
        header["id"] = request.id
    content = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([content, *raw]), len(content) if raw else None


def _parse_header(json: bytes | bytearray) -> InferenceRequest:
    check_values(json)
    try:
        header = InferenceRequest.model_validate_json(json)
    except ValidationError as error:
        raise BadRequest(_explain(error)) from None
    check_request_parameters(header.parameters)
    for number, output in enumerate(header.outputs or ()):
        check_output_parameters(output.parameters, number)
    return header


def _binary_inputs(inputs: list[RequestInput], rest: memoryview) -> list[memoryview | None]:
    """The binary data of each input, None for those whose data is in the JSON."""
    raw: list[memoryview | None] = []
    for number, tensor in enumerate(inputs):
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
    return raw


def json_length(header_length: str | None, body_length: int) -> int:
    """Bytes of JSON that a body begins with, all without the header. Raises BadRequest if it has fewer."""
    if header_length is None:
        return body_length
    length = whole_number(header_length)
    if length is None or length > body_length:
        raise BadRequest(f"header {HEADER_LENGTH}: give the JSON's length, up to {body_length} bytes")
    return length


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    places = (str(part) if isinstance(part, int) or part in _FIELDS else "…" for part in first["loc"])
    return f"{'.'.join(places) or 'body'}: {first['msg']}"
