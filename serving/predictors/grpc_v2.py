"""The Open Inference Protocol over gRPC, to and from KServe's types, with the checks that REST has.

A request that sends raw contents is answered with raw contents, one that sends typed ones with typed ones.
"""

from typing import Any

import numpy as np
from kserve import InferInput, InferRequest, InferResponse
from kserve.constants.constants import GRPC_CONTENT_DATATYPE_MAPPINGS as CONTENTS_OF
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest, ModelInferResponse
from kserve.protocol.infer_type import RequestedOutput

from serving.predictors.parameters import check_output_parameters, check_request_parameters
from serving.predictors.tensors import DATATYPES, to_binary
from stocktake.errors import BadRequest


def request_of_message(message: ModelInferRequest, model_version: str | None = None) -> InferRequest:
    """The request that a gRPC message holds; `model_version` is what answers.

    Raises:
        BadRequest: its parts do not fit together; names the field, never what it holds.
    """
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise BadRequest(f"raw_input_contents: found {len(raw)} for {len(message.inputs)} inputs")
    parameters = _parameters(message.parameters)
    check_request_parameters(parameters)
    for number, output in enumerate(message.outputs):
        check_output_parameters(_parameters(output.parameters), number)
    return InferRequest(
        message.model_name,
        [_input(tensor, number, has_raw=bool(raw)) for number, tensor in enumerate(message.inputs)],
        request_id=message.id,
        raw_inputs=raw,
        from_grpc=True,
        parameters=parameters,
        request_outputs=[RequestedOutput(output.name) for output in message.outputs] or None,
        model_version=model_version,
    )


def message_of_response(request: InferRequest, response: InferResponse) -> ModelInferResponse:
    """Write a response of `protocol.answer` as a message, in the form of its request."""
    message = ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    for output in response.outputs:
        tensor = message.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        if request.use_binary_outputs:
            message.raw_output_contents.append(to_binary(output.data))
        else:
            _contents(tensor.contents, output.datatype).extend(np.ravel(output.data).tolist())
    return message


def _input(tensor: ModelInferRequest.InferInputTensor, number: int, has_raw: bool) -> InferInput:
    where = f"inputs.{number}"
    if tensor.datatype not in DATATYPES:
        raise BadRequest(f"{where}.datatype: is none of {', '.join(DATATYPES)}")
    shape, data = list(tensor.shape), None
    if has_raw:
        if tensor.HasField("contents"):
            raise BadRequest(f"{where}.contents: there are raw_input_contents, too; send one of them")
    else:
        given = [field.name for field, _ in tensor.contents.ListFields()]
        if given not in ([], [CONTENTS_OF.get(tensor.datatype)]):
            raise BadRequest(f"{where}.contents: are not those of the datatype {tensor.datatype}")
        data = _contents(tensor.contents, tensor.datatype) if given else []
    return InferInput(tensor.name, shape, tensor.datatype, data)


def _contents(contents: Any, datatype: str) -> Any:
    return getattr(contents, CONTENTS_OF[datatype])


def _parameters(message: Any) -> dict[str, Any]:
    """Parameters as REST has them, without those of a kind that KServe's definition does not have."""
    chosen = {name: parameter.WhichOneof("parameter_choice") for name, parameter in message.items()}
    return {name: getattr(message[name], kind) for name, kind in chosen.items() if kind}
