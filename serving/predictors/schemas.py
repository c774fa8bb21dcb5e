"""What REST answers, as OpenAPI describes it."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Error(BaseModel):
    """What was wrong, and what to do."""

    model_config = ConfigDict(extra="forbid")

    error: str


class ServerMetadata(BaseModel):
    """What the server is; `extensions` are those of the protocol that it speaks."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """The server answers."""

    live: bool


class Ready(BaseModel):
    """Every model can answer."""

    ready: bool


class Models(BaseModel):
    """The names of the models."""

    models: list[str]


class ModelReady(BaseModel):
    """The model can answer."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """An input or output; -1 in its shape for a size that may vary."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and answers; `properties` say what runs it."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str]


class ResponseOutput(BaseModel):
    """An output; its data is in `data`, or follows the JSON where `binary_data_size` says how long it is."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int] = {}
    data: list[Any] | None = None


class InferenceResponse(BaseModel):
    """The answer to a request for inference."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


class Predictions(BaseModel):
    """A report for each photo."""

    predictions: list[dict[str, Any]]
