"""Requests made up from the gateway's own OpenAPI, for as long as one likes: none may be answered with a 500.

    python -m benchmarks.gateway.made_up_requests --seconds 600 --seed 1

Starts Redis, a predictor of tiny models, a gateway and a worker, and lets Schemathesis call every route by
examples, by what its schemas leave open, at random, and in sequences that follow links. Exits with its
status: 0 where all answers are as described, and the gateway is well in the end.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

from tests.gateway_site import Site

# Valid by its schema is not yet a photo; the others are for APIs with logins and with state.
NOT_OURS = ("positive_data_acceptance", "ignored_auth", "use_after_free", "ensure_resource_availability")


def main() -> int:
    """Start all, make up requests, look whether the gateway is still well; return the status."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--seconds", type=int, default=600, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="made-up-") as folder:
        site = Site(Path(folder), requests_per_minute=1_000_000)
        try:
            for part in (site.redis, site.predictor, site.gateway, site.worker):
                part.start()
            status = _make_up(site, args.seconds, args.seed)
            found = httpx.get(f"{site.url}/readyz", timeout=60).json()
            print("ready after all that:", found)
        finally:
            site.stop()
    return status if found["ready"] else 1


def _make_up(site: Site, seconds: int, seed: int) -> int:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{site.url}/api/openapi.json"]
    command += ["--header", f"Authorization: Bearer {site.token}", "--exclude-checks", ",".join(NOT_OURS)]
    command += ["--max-time", str(seconds), "--seed", str(seed), "--continue-on-failure"]
    return subprocess.run(command, cwd=site.folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
