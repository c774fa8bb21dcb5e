"""Where a hash puts a group of bins, and the shares that the splits have of each class."""

import hashlib

TRAIN_SHARE, VAL_SHARE = 0.8, 0.1  # the rest is test
LOWEST_SHARE, HIGHEST_SHARE = 0.05, 0.15  # of a class, in val and in test


def place_of(group: str, seed: int) -> float:
    """A number in [0, 1) that is even over groups: the first 8 bytes of SHA-256 of '<seed>:<group>'."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def split_at(place: float) -> str:
    """The split of a number in [0, 1)."""
    if place < TRAIN_SHARE:
        return "train"
    return "val" if place < TRAIN_SHARE + VAL_SHARE else "test"
