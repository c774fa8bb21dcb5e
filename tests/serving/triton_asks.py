"""Triton's clients as functions, for a process without KServe: both name their gRPC messages alike."""

import importlib

import numpy as np
from tritonclient.utils import InferenceServerException


def look(protocol, address, model):
    """What the server and a model say of themselves, and whether they are ready."""
    library = importlib.import_module(f"tritonclient.{protocol}")
    with library.InferenceServerClient(address) as client:
        options = {"as_json": True} if protocol == "grpc" else {}
        metadata = client.get_model_metadata(model, **options)
        version = metadata["versions"][0]
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "extensions": client.get_server_metadata(**options)["extensions"],
            "outputs": [output["name"] for output in metadata["outputs"]],
            "models": {
                "any": client.is_model_ready(model),
                "served": client.is_model_ready(model, version),
                "older": _is_ready(client, model, "2"),
                "none": _is_ready(client, "none", ""),
            },
        }


def _is_ready(client, model, version):
    try:
        return client.is_model_ready(model, version)
    except InferenceServerException:  # over gRPC
        return False


def infer(protocol, address, model, photos, quantities=None, outputs=None, compression=None, **options):
    """Arrays by the name of their output, with the request's id under `id`; or the error.

    Args:
        outputs: {name: further arguments of InferRequestedOutput}, None for all.
        options: of the client's `infer`.
    """
    library = importlib.import_module(f"tritonclient.{protocol}")
    inputs = [library.InferInput("image", [len(photos)], "BYTES")]
    inputs[0].set_data_from_numpy(np.array([*photos, None], np.object_)[:-1])
    if quantities is not None:
        inputs.insert(0, library.InferInput("expected_quantity", [len(quantities)], "INT32"))
        inputs[0].set_data_from_numpy(np.array(quantities, np.int32))
    wanted = outputs and [library.InferRequestedOutput(name, **outputs[name]) for name in outputs]
    if compression is not None and protocol == "http":
        options |= {
            "request_compression_algorithm": compression,
            "response_compression_algorithm": compression,
        }
    elif compression is not None:
        options |= {"compression_algorithm": compression}
    with library.InferenceServerClient(address) as client:
        try:
            result = client.infer(model, inputs, outputs=wanted, **options)
        except InferenceServerException as error:
            return {"status": error.status(), "message": error.message()}
        response = result.get_response()
        said = response["outputs"] if protocol == "http" else response.outputs
        names = [output["name"] if protocol == "http" else output.name for output in said]
        request_id = response.get("id") if protocol == "http" else response.id
        in_json = [output["name"] for output in said if "data" in output] if protocol == "http" else []
        return {"id": request_id, "in_json": in_json, **{name: result.as_numpy(name) for name in names}}
