"""What a check found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum

from stocktake.errors import StocktakeError


class Status(StrEnum):
    """How bad it is: a failure stops somebody's work, a warning will surprise somebody."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's; `mend` is what to do next, a command where there is one."""

    status: Status
    found: str
    mend: str = ""


def ok(found: str) -> Finding:
    """Nothing to do."""
    return Finding(Status.OK, found)


def warn(found: str, mend: str = "") -> Finding:
    """Works, or is not needed everywhere, but will surprise somebody."""
    return Finding(Status.WARN, found, mend)


def fail(found: str, mend: str = "") -> Finding:
    """Stops somebody's work."""
    return Finding(Status.FAIL, found, mend)


class Unseen(StocktakeError):
    """What a check is about cannot be seen from here: a warning that says why, and how it could be."""
