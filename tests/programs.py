"""The programs that some tests drive, and what a test does without them."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]


def find_program(*names: str) -> str | None:
    """The path of the first that is there; one of ours before one of the system's."""
    folders = os.pathsep.join((str(ROOT / ".services" / "bin"), os.environ.get("PATH", "")))
    return next((found for name in names if (found := shutil.which(name, path=folders))), None)


def need(*names: str) -> str:
    """The path of the first program that is there; skips the test without any."""
    return find_program(*names) or lack(" and no ".join(names))


def lack(what: str) -> NoReturn:
    """Skip the test, or fail it with STOCKTAKE_REQUIRE_SERVICES=1."""
    give_up(f"there is no {what}; `make services` installs what tests need")


def give_up(reason: str) -> NoReturn:
    """Skip the test, or fail it with STOCKTAKE_REQUIRE_SERVICES=1."""
    if os.environ.get("STOCKTAKE_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
