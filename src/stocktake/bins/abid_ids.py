"""Ids of ABID: strings of digits, with the next one and a bucket for each.

'01044' and '1044' are two pictures of two bins: the set has a series of ids that are zero-padded to five
digits beside the plain numbers. So an id is never turned into a number to look something up.
"""

import re
from pathlib import PurePosixPath

BUCKET_DIGITS = 2  # a bucket holds the ids that differ in these last digits only: up to 100 bins, about 6 MB

_DIGITS = re.compile(r"[0-9]+")


def id_of(path: str) -> str:
    """The id in a path: 'metadata/00012.json' -> '00012'."""
    return PurePosixPath(path).stem


def order(bin_id: str) -> tuple[int, int, str]:
    """Sort key: the padded series, the plain numbers by value, then ids of other kinds."""
    if not _DIGITS.fullmatch(bin_id):
        return 2, 0, bin_id
    return (0 if bin_id.startswith("0") else 1), int(bin_id), bin_id


def after(bin_id: str, step: int = 1) -> str | None:
    """The id `step` places later in the same series; None for ids that are not digits.

    The width stays: '00009' -> '00010', '9' -> '10', and both '09999' and '9999' -> '10000', where the two
    series meet.
    """
    if not _DIGITS.fullmatch(bin_id):
        return None
    return str(int(bin_id) + step).zfill(len(bin_id))


def bucket_of(bin_id: str) -> str:
    """The bucket's name, which no other id decides on: '01044' -> '010', '1044' -> '10', '44' -> ''."""
    return bin_id[:-BUCKET_DIGITS]


def bucket_order(bucket: str) -> tuple[int, int, str]:
    """Sort key of buckets, in line with `order`: '' holds the plain numbers below 100."""
    return order(bucket) if bucket else (1, -1, "")
