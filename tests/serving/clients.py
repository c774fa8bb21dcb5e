"""KServe's own clients, and each way to ask a predictor, as one call that returns arrays by name."""

import asyncio
import base64

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def photo_input(photos, form):
    array = np.empty(len(photos), np.object_)
    array[:] = photos
    if form == "json":
        return InferInput(
            "image", [len(photos)], "BYTES", [base64.b64encode(photo).decode() for photo in photos]
        )
    if form == "typed":
        return InferInput("image", [len(photos)], "BYTES", list(photos))
    tensor = InferInput("image", [len(photos)], "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor


def quantity_input(quantities, form):
    if form in ("json", "typed"):
        return InferInput("expected_quantity", [len(quantities)], "INT32", list(quantities))
    tensor = InferInput("expected_quantity", [len(quantities)], "INT32")
    tensor.set_data_from_numpy(np.array(quantities, np.int32))
    return tensor


def ask(server, photos, way, outputs=None, model="shelf-detector", quantities=None):
    """`way`: rest-json, rest-binary, grpc-raw or grpc-typed. `outputs`: names, or None for all."""
    protocol, form = way.split("-")
    recorded = [] if quantities is None else [quantity_input(quantities, form)]
    request = InferRequest(
        model,
        [photo_input(photos, form), *recorded],
        parameters={"binary_data_output": True} if way == "rest-binary" else {},
        request_outputs=None if outputs is None else [RequestedOutput(name) for name in outputs],
    )
    response = asyncio.run(_rest(server, request) if protocol == "rest" else _grpc(server, request))
    return {output.name: output.as_numpy() for output in response.outputs}


async def _rest(server, request):
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=0)) as client:
        return await client.infer(server.url, request, model_name=request.model_name)


async def _grpc(server, request):
    async with InferenceGRPCClient(server.grpc, retries=0) as client:
        return await client.infer(request)
