"""Environments of the peers, each with its framework and what a user of it would install.

    python -m benchmarks.serving.environments --work runs/serving
    python -m benchmarks.serving.environments --work runs/serving --peers litserve mlserver

They are made once, in `WORK/environments`, half a gigabyte each; the project's own environment stays as it
is. KServe's tutorial needs none: the project's own has torch and kserve.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ENGINES = ["onnxruntime==1.31.1", "openvino==2026.4.1", "pillow==13.0.0"]
OPENCV = "opencv-python-headless==5.0.0.93"
REQUIREMENTS = {
    "litserve": ["litserve==0.2.19", OPENCV, *ENGINES],
    # its workers ask for an event loop in a way that later uvloops refuse
    "mlserver": ["mlserver==1.7.1", "uvloop==0.21.0", OPENCV, *ENGINES],
    "bentoml": ["bentoml==1.4.39", OPENCV, *ENGINES],
    # numpy below 2, which OpenCV 5 is not
    "pytriton": ["nvidia-pytriton==0.7.0", "opencv-python-headless==4.11.0.86", *ENGINES],
}
STAMP = "requirements.txt"


def main() -> None:
    """Make what is missing."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--peers", nargs="+", choices=REQUIREMENTS, default=list(REQUIREMENTS))
    options = parser.parse_args()
    for peer in options.peers:
        try:
            print(f"{peer}: {make_environment(options.work, peer)}", flush=True)
        except EnvironmentMissing as error:
            print(f"{peer}: {error}", flush=True)


class EnvironmentMissing(Exception):
    """A peer's environment can't be made; says why."""


def make_environment(work: Path, peer: str) -> Path:
    """The Python of a peer's environment, which is made if there is none.

    Raises:
        EnvironmentMissing: pip can't install it.
    """
    folder = (work / "environments" / peer).absolute()
    wanted = "\n".join(REQUIREMENTS[peer])
    stamp = folder / STAMP
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        _run([_base_python(peer), "-m", "venv", str(folder)])
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
        _run([*pip, "--disable-pip-version-check", *REQUIREMENTS[peer]])
        stamp.write_text(wanted)
    return folder / "bin/python"


def _base_python(peer: str) -> str:
    """pytriton embeds an interpreter of the system's, with which the environment's must agree."""
    system = shutil.which("python3.11", path="/usr/bin:/bin")
    return system if peer == "pytriton" and system else sys.executable


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise EnvironmentMissing(f"{' '.join(command[1:4])} failed: {''.join(last)}")


if __name__ == "__main__":
    main()
