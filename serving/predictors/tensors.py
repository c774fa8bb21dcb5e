"""The tensors of a request and of an answer, as they travel over REST and gRPC.

A BYTES tensor is binary as one stream, before each element its length (uint32, little-endian), or a list: of
base64 in JSON, of bytes in typed contents over gRPC. Binary elements are views on the body, not copies of it.
"""

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from kserve import InferInput
from numpy.typing import NDArray

from stocktake.errors import BadRequest
from stocktake.images import EncodedPhoto

IMAGE, QUANTITY = "image", "expected_quantity"  # the inputs that there are
MAX_PHOTOS = 64
MAX_QUANTITY = 2**31 - 1  # what an INT32 holds

Tensors = Mapping[str, NDArray[Any]]
Photo = EncodedPhoto
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
    "BYTES",
]  # fmt: skip
DATATYPES = get_args(Datatype)
DATATYPE_OF = {np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32", np.dtype(np.object_): "BYTES"}

_LENGTH = struct.Struct("<I")
_INT32 = np.dtype("<i4")


def photos_in(tensor: InferInput) -> list[Photo]:
    """The elements of the input `image`. Raises BadRequest if they are not 1 to MAX_PHOTOS byte strings."""
    count = _count(tensor, "BYTES")
    if not 1 <= count <= MAX_PHOTOS:
        raise wrong_number_of_photos(count)
    if (raw := raw_data(tensor)) is not None:
        return [*_split(tensor, raw, count)]
    return [
        element if isinstance(element, bytes) else from_base64(element, f"input '{IMAGE}': element {number}")
        for number, element in enumerate(_listed(tensor, count))
    ]


def quantities_in(tensor: InferInput, photos: int) -> list[int]:
    """The elements of the input `expected_quantity`. Raises BadRequest if they are not one for each photo."""
    count = _count(tensor, "INT32")
    if count != photos:  # told before millions of them are looked at
        raise BadRequest(f"input '{QUANTITY}': has {count} elements for {photos} photos; send one for each")
    values: Sequence[Any]
    if (raw := raw_data(tensor)) is None:
        values = _listed(tensor, count)
    elif len(raw) == count * _INT32.itemsize:
        values = np.frombuffer(raw, _INT32).tolist()
    else:
        raise _misfit(tensor)
    return [quantity(value, f"input '{QUANTITY}': element {number}") for number, value in enumerate(values)]


def quantity(value: Any, where: str) -> int:
    """A recorded quantity, as it is. Raises BadRequest if it is no number of items; says `where`."""
    if type(value) is not int or not 0 <= value <= MAX_QUANTITY:  # a bool is an int, too
        raise BadRequest(f"{where}: is not a whole number of items from 0 to {MAX_QUANTITY}")
    return value


def from_base64(text: Any, where: str) -> bytes:
    """The bytes that a text stands for. Raises BadRequest if it is not base64; says `where`."""
    if not isinstance(text, str):
        raise BadRequest(f"{where}: is not text; send the photo as base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{where}: is not base64") from None


def wrong_number_of_photos(count: int) -> BadRequest:
    """The error of a request with no photo, or with too many."""
    return BadRequest(f"found {count} photos; send 1 to {MAX_PHOTOS} in a request")


def raw_data(tensor: InferInput) -> memoryview | None:
    """The binary data of an input, None where it was sent as a list."""
    raw = tensor._raw_data  # KServe has no other way to it than `as_numpy`, which copies each element
    return None if raw is None else memoryview(raw)


def to_binary(tensor: NDArray[Any]) -> bytes:
    """The elements of a tensor in row-major order, as the binary tensor extension and gRPC send them."""
    if tensor.dtype != np.object_:
        return tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
    return b"".join(_LENGTH.pack(len(element)) + element for element in tensor.ravel())


def _count(tensor: InferInput, datatype: str) -> int:
    """The N of its shape [N]. The tensor's name is one of ours, so that errors may say it."""
    if tensor.datatype != datatype or len(tensor.shape) != 1 or tensor.shape[0] < 0:
        raise BadRequest(
            f"input '{tensor.name}': datatype must be {datatype} and shape [N], one element for each photo"
        )
    return int(tensor.shape[0])


def _listed(tensor: InferInput, count: int) -> list[Any]:
    if len(tensor.data) != count:
        raise _misfit(tensor)
    return tensor.data


def _split(tensor: InferInput, raw: memoryview, count: int) -> list[memoryview]:
    elements, start = [], 0
    for _ in range(count):
        begin = start + _LENGTH.size
        if begin > len(raw):
            raise _misfit(tensor)
        start = begin + _LENGTH.unpack_from(raw, start)[0]
        elements.append(raw[begin:start])
    if start != len(raw):  # bytes follow, or the last elements are cut off
        raise _misfit(tensor)
    return elements


def _misfit(tensor: InferInput) -> BadRequest:
    return BadRequest(f"input '{tensor.name}': its data does not fit its shape")
