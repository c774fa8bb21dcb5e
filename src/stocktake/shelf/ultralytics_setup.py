"""Makes ultralytics, the YOLOv5 trainer, local: it reaches for neither the network nor the home folder."""

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from stocktake.devices import let_threads_sleep
from stocktake.files import atomic_path

_ENVIRONMENT = {
    "YOLO_OFFLINE": "1",  # no update check, no fonts, no AMP test weights, no events
    "YOLO_AUTOINSTALL": "0",  # a missing package is an error, never a pip install
    "ULTRALYTICS_SAFE_LOAD": "1",  # checkpoints may hold known model classes only
}
_INTEGRATIONS = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb", "vscode_msg")


def load_ultralytics() -> ModuleType:
    """Import ultralytics without network, home folder and integrations; every use of it comes through here.

    It reads the environment once, when it is imported, so this must have been called before.
    Its settings live in a folder of this process, which goes when the process ends, unless the environment
    names one (YOLO_CONFIG_DIR). The environment variables also reach the ranks that this process starts.
    """
    os.environ.update(_ENVIRONMENT)
    let_threads_sleep()
    if "YOLO_CONFIG_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="stocktake-ultralytics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder
    logging.getLogger("ultralytics").addFilter(_is_news)
    import ultralytics
    from ultralytics.utils import SETTINGS, USER_CONFIG_DIR

    _give_font(USER_CONFIG_DIR / "Arial.ttf")
    wanted = {name: False for name in _INTEGRATIONS if SETTINGS.get(name)}
    if wanted:
        SETTINGS.update(wanted)
    return ultralytics


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out where ultralytics keeps its settings, and the 110 arguments of each training."""
    about_settings = record.module == "__init__" or record.funcName == "print_args"
    return record.levelno >= logging.WARNING or not about_settings


def _give_font(path: Path) -> None:
    """Put matplotlib's own font where ultralytics looks for the one that it would download for its plots."""
    if not path.exists():
        from matplotlib import get_data_path

        with atomic_path(path) as part:
            shutil.copyfile(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf", part)
