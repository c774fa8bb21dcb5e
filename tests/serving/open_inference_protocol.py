"""What the Open Inference Protocol asks for, as tables: its REST endpoints and schemas, its gRPC messages.

The facts are those of open_inference_rest.yaml, inference_rest.md and open_inference_grpc.proto, version 2.
"""

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessages


def schema_of(required, optional=None):
    """JSON Schema of an object; fields that the protocol does not name may be there, too."""
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}}


def list_of(items):
    return {"type": "array", "items": items}


TEXT, FLAG, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
TENSOR = schema_of({"name": TEXT, "datatype": TEXT, "shape": list_of(NUMBER)})
ERROR = schema_of({"error": TEXT})
SERVER = schema_of({"name": TEXT, "version": TEXT, "extensions": list_of(TEXT)})
MODEL = schema_of(
    {"name": TEXT, "platform": TEXT},
    {
        "versions": list_of(TEXT),
        "inputs": list_of(TENSOR),
        "outputs": list_of(TENSOR),
        "properties": {"type": "object", "additionalProperties": TEXT},
    },
)
OUTPUT = schema_of(
    {"name": TEXT, "shape": list_of(NUMBER), "datatype": TEXT, "data": {"type": "array"}},
    {"parameters": PARAMETERS},
)
ANSWER = schema_of(
    {"model_name": TEXT, "outputs": list_of(OUTPUT)},
    {"model_version": TEXT, "id": TEXT, "parameters": PARAMETERS},
)
# The version in a path may be left out. What a ready server says differs from text to text: its code counts.
GET = {
    "/v2": SERVER,
    "/v2/": SERVER,
    "/v2/health/live": schema_of({"live": FLAG}),
    "/v2/health/ready": schema_of({}),
    "/v2/models/{model}/versions/{version}": MODEL,
    "/v2/models/{model}/versions/{version}/ready": schema_of({"name": TEXT, "ready": FLAG}),
}
POST = {"/v2/models/{model}/versions/{version}/infer": ANSWER}
PLATFORMS = {
    "tensorrt_plan",
    "tensorflow_graphdef",
    "tensorflow_savedmodel",
    "onnx_onnxv1",
    "pytorch_torchscript",
    "mxnet_mxnet",
    "caffe2_netdef",
}
SIZES = {  # bytes of an element
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4,
    "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip

SERVICE = "inference.GRPCInferenceService"
METHODS = ["ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"]
# message: its fields in the order of their numbers, from 1; * for many, {} for a map from text
MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready",
    "ModelReadyRequest": "string name, string version",
    "ModelReadyResponse": "bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name, string version, string* extensions",
    "ModelMetadataRequest": "string name, string version",
    "ModelMetadataResponse": "string name, string* versions, string platform, TensorMetadata* inputs, "
    "TensorMetadata* outputs, string{} properties",
    "ModelMetadataResponse.TensorMetadata": "string name, string datatype, int64* shape",
    "ModelInferRequest": "string model_name, string model_version, string id, InferParameter{} parameters, "
    "InferInputTensor* inputs, InferRequestedOutputTensor* outputs, bytes* raw_input_contents",
    "ModelInferRequest.InferInputTensor": "string name, string datatype, int64* shape, "
    "InferParameter{} parameters, InferTensorContents contents",
    "ModelInferRequest.InferRequestedOutputTensor": "string name, InferParameter{} parameters",
    "ModelInferResponse": "string model_name, string model_version, string id, InferParameter{} parameters, "
    "InferOutputTensor* outputs, bytes* raw_output_contents",
    "ModelInferResponse.InferOutputTensor": "string name, string datatype, int64* shape, "
    "InferParameter{} parameters, InferTensorContents contents",
    "InferParameter": "bool bool_param, int64 int64_param, string string_param, double double_param, "
    "uint64 uint64_param",
    "InferTensorContents": "bool* bool_contents, int32* int_contents, int64* int64_contents, "
    "uint32* uint_contents, uint64* uint64_contents, float* fp32_contents, double* fp64_contents, "
    "bytes* bytes_contents",
}


def fields_of(message):
    """{number: (kind, name)} of a message."""
    parts = [part.split() for part in MESSAGES[message].split(",") if part]
    return {number: (kind, name) for number, (kind, name) in enumerate(parts, 1)}


def kind_of(field):
    """The kind of a field in a descriptor, as the tables write it."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return kind_of(field.message_type.fields_by_name["value"]) + "{}"
    scalar = {field.TYPE_BOOL: "bool", field.TYPE_STRING: "string", field.TYPE_BYTES: "bytes"}
    scalar |= {field.TYPE_INT32: "int32", field.TYPE_INT64: "int64", field.TYPE_UINT32: "uint32"}
    scalar |= {field.TYPE_UINT64: "uint64", field.TYPE_FLOAT: "float", field.TYPE_DOUBLE: "double"}
    name = field.message_type.name if field.message_type is not None else scalar[field.type]
    return name + ("*" if field.is_repeated else "")


def message_classes():
    """Classes of the messages, made of the table alone."""
    file = FileDescriptorProto(name="open_inference.proto", package="inference", syntax="proto3")
    made = {}
    for full_name in MESSAGES:
        outer, _, name = full_name.rpartition(".")
        made[full_name] = (
            made[outer].nested_type.add(name=name) if outer else file.message_type.add(name=name)
        )
    for full_name in MESSAGES:
        for number, (kind, name) in fields_of(full_name).items():
            _add_field(made[full_name], full_name, number, kind, name)
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessages([file], pool=pool)[f"inference.{name}"] for name in MESSAGES if "." not in name}


def _add_field(message, full_name, number, kind, name):
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if full_name == "InferParameter":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind.endswith("{}"):
        entry_name = "".join(part.title() for part in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _add_field(entry, f"{full_name}.{entry_name}", 1, "string", "key")
        _add_field(entry, f"{full_name}.{entry_name}", 2, kind[:-2], "value")
        field.label, field.type_name = field.LABEL_REPEATED, f".inference.{full_name}.{entry_name}"
        field.type = field.TYPE_MESSAGE
        return
    if kind.endswith("*"):
        field.label, kind = field.LABEL_REPEATED, kind[:-1]
    scalar = getattr(field, f"TYPE_{kind.upper()}", None)
    if scalar is None:
        inner = f"{full_name}.{kind}"
        field.type_name = f".inference.{inner if inner in MESSAGES else kind}"
    field.type = field.TYPE_MESSAGE if scalar is None else scalar
