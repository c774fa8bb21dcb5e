"""Everything that docs/performance.md reports, one benchmark after the other.

    python -m benchmarks.serving --work runs/serving --into docs/performance.md
    python -m benchmarks.serving --quick

Two hours on two cores, twenty minutes of them for each model's soak; a machine with anything else to
do gives figures of that. With --quick a few seconds for each point, which tries the scripts and measures
nothing. A benchmark that fails does not stop the others.
"""

import argparse
import subprocess
import sys
from pathlib import Path

LOADS = {
    "compare": ["--rounds", "1", "--seconds", "2", "--open_seconds", "5"],
    "overload": ["--rounds", "1", "--seconds", "5"],
    "cold_start": ["--rounds", "1", "--load_seconds", "1"],
    "wire": ["--rounds", "1", "--seconds", "2"],
    "soak --model shelf-detector": ["--minutes", "1"],
    "soak --model bin-counter": ["--minutes", "1"],
}  # with what --quick adds


def main() -> None:
    """Run all, then report."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--into", type=Path, help="a page that takes the results")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    failed = []
    for name, quick in LOADS.items():
        print(f"--- {name}", flush=True)
        if _run([*name.split(), "--work", str(options.work), *(quick if options.quick else [])]):
            failed.append(name)
    into = ["--into", str(options.into)] if options.into else []
    failed += ["report"] if _run(["report", "--work", str(options.work), *into]) else []
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _run(arguments: list[str]) -> int:
    name, *rest = arguments
    return subprocess.run([sys.executable, "-m", f"benchmarks.serving.{name}", *rest]).returncode


if __name__ == "__main__":
    main()
