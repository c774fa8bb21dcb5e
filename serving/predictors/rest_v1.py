"""The older protocol, v1: photos in, reports out.

    {"instances": [{"image": {"b64": …}, "expected_quantity": 4}]}   ->   {"predictions": [report]}

A photo that is the body itself becomes the same object, with its bytes in the place of `{"b64": …}`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from serving.predictors.json_body import NOT_JSON, check_values
from serving.predictors.parameters import whole_number
from serving.predictors.tensors import (
    IMAGE,
    MAX_PHOTOS,
    QUANTITY,
    Photo,
    from_base64,
    quantity,
    wrong_number_of_photos,
)
from stocktake.errors import BadRequest

_IN_QUERY = f"query parameter {QUANTITY}"
_EXAMPLE = '{"instances": [{"image": {"b64": …}}]}'


def parse_v1(body: bytes | bytearray, recorded: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON object of a v1 request.

    Args:
        body: JSON.
        recorded: the values of `expected_quantity` in the query, which is for photos that are a body.

    Raises:
        BadRequest: the body is none, or there is a quantity in the query.
    """
    if recorded:
        raise BadRequest(f"{_IN_QUERY}: goes with a photo as the body; with JSON give it in the instance")
    check_values(body)
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest(NOT_JSON) from None
    if not isinstance(payload, dict):
        raise BadRequest(f"the body is not a JSON object; send {_EXAMPLE}")
    return payload


def check_query(names: Iterable[str], inputs: Sequence[str]) -> None:
    """Raises BadRequest if a query has names that are no inputs of the model beside the photo."""
    known = [name for name in inputs if name != IMAGE]
    if not set(names) <= set(known):
        what = f"nothing but {' and '.join(known)}" if known else "nothing: this model takes photos only"
        raise BadRequest(f"query: has names that the model does not know; send {what}")


def request_of_photo(photo: Photo, recorded: Sequence[str]) -> dict[str, Any]:
    """The v1 request that a photo stands for which is a body itself.

    Args:
        photo: the body.
        recorded: the values of `expected_quantity` in the query, where curl can put it.

    Raises:
        BadRequest: it is there twice, or no number of items.
    """
    if len(recorded) > 1:
        raise BadRequest(f"{_IN_QUERY}: give it once")
    instance: dict[str, Any] = {IMAGE: photo}
    for text in recorded:
        instance[QUANTITY] = quantity(whole_number(text), _IN_QUERY)
    return {"instances": [instance]}


def is_raw_photo(payload: dict[str, Any]) -> bool:
    """Whether it is what `request_of_photo` makes."""
    match payload:
        case {"instances": [{"image": bytes() | bytearray() | memoryview()}]}:
            return True
    return False


def photos_in_instances(payload: dict[str, Any], inputs: Sequence[str]) -> list[Photo]:
    """The photo of each instance.

    Raises:
        BadRequest: there are none, too many, one is not base64, or something beside it is no input.
    """
    instances = payload.get("instances")
    if not isinstance(instances, list):
        raise BadRequest(f"instances: there is no such list; send {_EXAMPLE}")
    if not 1 <= len(instances) <= MAX_PHOTOS:
        raise wrong_number_of_photos(len(instances))
    photos = [_photo(instance, number) for number, instance in enumerate(instances)]
    for number, instance in enumerate(instances):
        if not set(instance) <= set(inputs):
            raise BadRequest(f"instances[{number}]: has other names than {' and '.join(inputs)}")
    return photos


def quantities_in_instances(payload: dict[str, Any]) -> list[int | None]:
    """The quantity that was recorded for each photo, None where none was. Raises BadRequest.

    Args:
        payload: one that `photos_in_instances` has passed.
    """
    return [
        quantity(instance[QUANTITY], f"instances[{number}].{QUANTITY}") if QUANTITY in instance else None
        for number, instance in enumerate(payload["instances"])
    ]


def _photo(instance: Any, number: int) -> Photo:
    image = instance.get(IMAGE) if isinstance(instance, dict) else None
    if isinstance(image, dict) and set(image) == {"b64"}:
        return from_base64(image["b64"], f"instances[{number}].image.b64")
    if isinstance(image, Photo):  # JSON has no such type: it was the body
        return image
    raise BadRequest(f'instances[{number}]: is not {{"image": {{"b64": …}}}}')
