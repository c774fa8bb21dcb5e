"""What a model and the server say of themselves, over REST and gRPC."""

from typing import Any

from kserve import Model

PLATFORM = "onnx_onnxv1"  # the protocol's name for an ONNX file
EXTENSIONS = ["binary_tensor_data"]
VERSION_DIGITS = 12


def version_of(model: Model) -> str:
    """The one version that is served: the first digits of the model's digest, "1" where it has none.

    A digest says which weights answered, before and after a reload, and that two servers have the same.
    """
    return getattr(model, "digest", "")[:VERSION_DIGITS] or "1"


def model_metadata(model: Model, name: str) -> dict[str, Any]:
    """The metadata of a model: name, versions, platform, inputs, outputs and properties, texts by name."""
    return {
        "name": name,
        "versions": [version_of(model)],
        "platform": PLATFORM,
        "inputs": model.get_input_types(),
        "outputs": model.get_output_types(),
        "properties": properties_of(model),
    }


def properties_of(model: Model) -> dict[str, str]:
    """What runs the model, in which precision, and why, and more; nothing where the model does not say."""
    properties = getattr(model, "properties", dict)
    return {name: str(value) for name, value in properties().items()}
