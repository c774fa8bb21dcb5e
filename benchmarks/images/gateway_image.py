"""Start the gateway of an image and look at its pages: python -m benchmarks.images.gateway_image COMMAND."""

import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

URL = "http://127.0.0.1:8000"
START_S = 120
PAGES = ("/healthz", "/readyz", "/metrics", "/api/openapi.json", "/sign-in")


def main() -> None:
    """Print how long it took to start, its memory, and the size of each page."""
    began = time.monotonic()
    with subprocess.Popen(sys.argv[1:]) as gateway:
        try:
            while not _answers():
                if gateway.poll() is not None or time.monotonic() - began > START_S:
                    raise SystemExit("it did not start")
                time.sleep(0.05)
            print(f"answers after {time.monotonic() - began:.1f} s")
            for page in PAGES:
                with urlopen(URL + page, timeout=10) as answer:
                    print(f"{page}: {answer.status}, {len(answer.read())} bytes")
            pages = int(Path(f"/proc/{gateway.pid}/statm").read_text().split()[1])
            print(f"memory: {pages * 4096 / 1e6:.0f} MB")
        finally:
            gateway.terminate()


def _answers() -> bool:
    try:
        with urlopen(f"{URL}/healthz", timeout=5):
            return True
    except (URLError, OSError):
        return False


if __name__ == "__main__":
    main()
