"""How much a gRPC message unpacks to, told before it is: two bytes can ask for an object of a hundred.

The encoding is that of https://protobuf.dev/programming-guides/encoding.
"""

from typing import Any

MAX_FIELDS = 10_000  # in a message and all that is below it; 64 photos with their quantities need 500

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_MESSAGE, _STRING, _BLOB = 11, 9, 12  # types in a descriptor; packed numbers are what else comes as bytes


def is_small(data: bytes, descriptor: Any, most: int = MAX_FIELDS) -> bool:
    """Whether a message has at most `most` fields and bytes of packed numbers; True for what is none.

    Args:
        data: the message as it came.
        descriptor: of its kind, see protobuf's `DESCRIPTOR`.
        most: at which counting ends.
    """
    try:
        return _count(memoryview(data), descriptor, most) <= most
    except (IndexError, ValueError):  # who parses it will say so
        return True


def _count(data: memoryview, descriptor: Any, most: int) -> int:
    found, place = 0, 0
    while place < len(data) and found <= most:
        key, place = _varint(data, place)
        field, wire = descriptor.fields_by_number.get(key >> 3), key & 7
        found += 1
        if wire == _VARINT:
            _, place = _varint(data, place)
        elif wire in _FIXED_BYTES:
            place += _FIXED_BYTES[wire]
        elif wire == _BYTES:
            length, begin = _varint(data, place)
            place = begin + length
            if field is not None and field.type == _MESSAGE:
                found += _count(data[begin:place], field.message_type, most - found)
            elif field is not None and field.type not in (_STRING, _BLOB):
                found += length
        else:  # groups, which nobody sends any more
            return most + 1
    return found


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """The number that begins at `place`, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number of more than ten bytes")
