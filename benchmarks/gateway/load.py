"""Load on the gateway and all that it needs, as `make up` runs them: managers, cameras, bin stations.

    python -m benchmarks.gateway.load --minutes 30

Models and photos are those of benchmarks.serving.workload, made where they are not there. Writes report.md,
load.png, Locust's tables and a table of samples; what waits in the queue at the end is waited for.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gateway.report import write_report
from benchmarks.gateway.samples import Sampler
from benchmarks.serving.workload import BINS, PHOTOS, SHELVES, model_of, photos_of
from serving.gateway.access import Role, add_token

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
KINDS = {"Manager": "managers", "Camera": "cameras", "BinStation": "stations"}
START_S, DRAIN_S = 300, 600


def main() -> None:
    """Start everything, put load on it, stop it, and tell."""
    args = _parser().parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    models = [f"--shelves={model_of(args.work, SHELVES)}", f"--bins={model_of(args.work, BINS)}"]
    plan = _plan(args)
    data = args.out / "up"
    command = [sys.executable, "-m", "serving.up", f"--data={data}", "--port=0", "--without=mlflow", *models]
    with (args.out / "up.log").open("wb") as log:
        up = psutil.Popen(command, stdout=log, stderr=log)
    try:
        where = _wait_until_ready(up, data / "up.json", args.out / "up.log")
        with Sampler(up, where["url"], args.out / "samples.csv") as sampler:
            code = _locust(args, plan, where["url"])
            if up.poll() is not None:
                raise SystemExit(f"a process ended under the load, and with it all; see {args.out}/up.log")
            drained_s = sampler.wait_until_empty(DRAIN_S)
            left = sampler.states()
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            up.send_signal(signal.SIGINT)
        up.wait()
    about = {"minutes": args.minutes, **{name: getattr(args, name) for name in KINDS.values()}}
    about |= {"photos in a job": args.burst, "a job every": f"{args.every_s:.0f} s", "cores": os.cpu_count()}
    print(write_report(args.out, about, drained_s, left))
    if code not in (0, 1):  # 1: requests have failed, which the report tells
        raise SystemExit(f"locust ended with {code}; see {args.out}/locust.log")


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--minutes", type=_between(1, 120), default=5, help="(default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/load"), help="made anew (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    for name, count in (("managers", 5), ("cameras", 5), ("stations", 3)):
        parser.add_argument(f"--{name}", type=_between(1, 200), default=count, help="(default: %(default)s)")
    parser.add_argument(
        "--burst", type=_between(1, 100), default=4, help="photos in a job (default: %(default)s)"
    )
    parser.add_argument(
        "--every-s", type=float, default=30.0, help="that a camera sends one (default: %(default)s)"
    )
    return parser


def _between(least: int, most: int) -> Any:
    def number(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text}: give {least} to {most}")
        return int(text)

    return number


def _plan(args: argparse.Namespace) -> Path:
    """A token for each user, in the file that `serving.up` then adds its own to; and where photos are."""
    tokens = {
        kind: [
            add_token(args.out / "up/tokens.yaml", f"{kind}-{number}", Role.OPERATOR)
            for number in range(getattr(args, name))
        ]
        for kind, name in KINDS.items()
    }
    photos = {}
    for task, model in (("shelves", SHELVES), ("bins", BINS)):
        assert len(photos_of(args.work, model)) == PHOTOS
        photos[task] = sorted(str(path.absolute()) for path in (args.work / "photos" / model).glob("*.jpg"))
    path = args.out / "plan.json"
    jobs = args.out / "jobs.csv"
    jobs.write_text("time,seconds\n")
    plan = {"tokens": tokens, "photos": photos, "burst": args.burst, "every_s": args.every_s}
    path.write_text(json.dumps(plan | {"jobs": str(jobs.absolute())}))
    path.chmod(0o600)
    return path


def _wait_until_ready(up: psutil.Popen, told: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while not told.exists():
        if up.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"it did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)
    return json.loads(told.read_text())


def _locust(args: argparse.Namespace, plan: Path, url: str) -> int:
    users = sum(getattr(args, name) for name in KINDS.values())
    command = [
        sys.executable, "-m", "locust", "--headless", "--locustfile", str(LOCUSTFILE), "--host", url,
        "--users", str(users), "--spawn-rate", "1", "--run-time", f"{args.minutes}m", "--stop-timeout", "30",
        "--csv", str(args.out / "locust"), "--csv-full-history", "--only-summary",
    ]  # fmt: skip
    environment = {**os.environ, "STOCKTAKE_LOAD": str(plan)}
    with (args.out / "locust.log").open("wb") as log:
        return subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode


if __name__ == "__main__":
    main()
