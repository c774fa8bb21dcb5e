"""Parameters of v2 requests: those that we know are checked, those that we cannot do as asked are refused.

All others mean nothing to us, and the protocol lets clients send what they like.
"""

from collections.abc import Mapping
from typing import Any

from stocktake.errors import BadRequest

TIMEOUT = "timeout"  # microseconds, as Triton's clients send it; 0 for none
MAX_DIGITS = 12
LONGEST_TIMEOUT = 10**12  # microseconds, eleven days
# Answers of another form than the output's own: to leave these aside would be to answer something else.
_NOT_OFFERED = ("classification", "shared_memory_region")


def whole_number(text: str) -> int | None:
    """The number in a header or a query, None where it is none; of more than 12 digits it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def check_request_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises BadRequest if one that we know has an impossible value."""
    _check_flag(parameters, "binary_data_output", "parameters")
    timeout = parameters.get(TIMEOUT, 0)
    if type(timeout) is not int or not 0 <= timeout <= LONGEST_TIMEOUT:
        raise BadRequest(f"parameters.{TIMEOUT}: give a number of microseconds, up to {LONGEST_TIMEOUT}")


def check_output_parameters(parameters: Mapping[str, Any], number: int) -> None:
    """Raises BadRequest if the output of this number is asked for in a form that there is not."""
    where = f"outputs.{number}.parameters"
    _check_flag(parameters, "binary_data", where)
    for name in _NOT_OFFERED:
        if name in parameters:
            raise BadRequest(f"{where}.{name}: is not offered; ask for the output as it is")


def timeout_seconds(parameters: Mapping[str, Any]) -> float | None:
    """How long a request may take by its own parameter, None where it has none."""
    return parameters.get(TIMEOUT, 0) / 1e6 or None


def _check_flag(parameters: Mapping[str, Any], name: str, where: str) -> None:
    if type(parameters.get(name, False)) is not bool:
        raise BadRequest(f"{where}.{name}: give true or false")
