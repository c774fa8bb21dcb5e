"""In a process of its own: ultralytics reads its environment and sets up its log when it is imported."""

import subprocess
import sys

SCRIPT = """
from stocktake.shelf.ultralytics_setup import load_ultralytics

load_ultralytics()
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import print_args

print_args({"epochs": 1})
LOGGER.info("an epoch")
LOGGER.warning("mind this")
"""


def test_settings_and_arguments_are_left_out_of_the_log_and_warnings_are_not() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    said = (done.stdout + done.stderr).splitlines()
    assert said[0] == "an epoch"
    assert said[1].endswith("mind this")
    assert len(said) == 2
