"""What an image holds, made by the image's own script in a folder."""

import os
import shutil
import subprocess
import sys

from tests.programs import ROOT, give_up

NO_INDEX = ("NewConnectionError", "Temporary failure in name resolution", "Connection refused", "ReadTimeout")


def clean():
    """Our variables, without what would let the fresh environment see our packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def make(folder, extra, code, *lists):
    """`folder` with `environment` and `app`, which are /opt/stocktake and /app in the image.

    `extra` of pyproject.toml; `code`, the folder of `serving` that is served; `lists` of what is left out.
    """
    source = folder / "source"
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
    for name in ("src", "images"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "serving" / code, folder / "app/serving" / code, ignore=ignored)
    for name in ("__init__.py", "logs.py"):
        shutil.copy(ROOT / "serving" / name, folder / "app/serving")
    place, app = folder / "environment", folder / "app"
    _install(source, "environment", place, extra, *lists)
    _install(source, "code", app, place, "library.without")
    return folder


def run(folder, *arguments):
    """What the image's Python prints."""
    command = [folder / "environment/bin/python", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder / "app", env=clean())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _install(source, *arguments):
    """Runs the script as the stages of Dockerfile.serve do."""
    done = subprocess.run(
        ["sh", "install.sh", *map(str, arguments)],
        cwd=source / "images",
        capture_output=True,
        text=True,
        env={**clean(), "PYTHON": sys.executable, "PIP_RETRIES": "2"},
    )
    if done.returncode and any(sign in done.stdout + done.stderr for sign in NO_INDEX):
        give_up("no package index can be reached, so the environment of the image cannot be made")
    assert done.returncode == 0, done.stderr[-3000:]
