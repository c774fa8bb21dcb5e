"""What the load on the gateway tells, and the photos that it sends."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gateway.report import write_report

ROOT = Path(__file__).parents[2]
ABOUT = {"minutes": 4, "cameras": 2}
STATS = """\
Type,Name,Request Count,Failure Count,Requests/s,50%,95%,99%
GET,/,30,2,0.5,40,120,130
,Aggregated,30,2,0.5,40,120,130
"""
HISTORY = """\
Timestamp,Type,Name,Requests/s,Failures/s,50%,95%,99%
1000,,Aggregated,0.000000,0.000000,N/A,N/A,N/A
1010,GET,/,0.4,0.1,40,110,120
1010,,Aggregated,0.4,0.1,40,110,120
"""


@pytest.fixture
def folder(tmp_path):
    """What a load leaves: the gateway grows by 3.6 GB an hour, the worker stays, Redis was away once."""
    (tmp_path / "locust_stats.csv").write_text(STATS)
    (tmp_path / "locust_stats_history.csv").write_text(HISTORY)
    (tmp_path / "locust_failures.csv").write_text("Method,Name,Error,Occurrences\nGET,/,HTTPError('503'),2\n")
    (tmp_path / "jobs.csv").write_text("time,seconds\n1004,2.0\n1008,4.0\n")
    noise = np.random.default_rng(0).integers(0, 1000, 120)
    lines = [
        f"{2 * n},{n if n != 5 else ''},{n},{10**8 + 2 * n * 10**6},{10**8 + noise[n]}" for n in range(120)
    ]
    (tmp_path / "samples.csv").write_text("\n".join(["seconds,queue,unfinished,gateway,worker", *lines, ""]))
    return tmp_path


def test_the_report_has_rates_failures_jobs_queue_and_growth(folder):
    text = write_report(folder, ABOUT, 7.2, {"queued": 0.0, "dead": 1.0})
    assert "minutes: 4, cameras: 2" in text
    assert "| GET / | 30 | 2 | 0.50 | 40 | 120 | 130 |" in text
    assert "| GET / | HTTPError('503') | 2 |" in text
    assert "2 jobs were followed; all photos of one were answered after 3.0 s (p50)" in text
    assert "At most 119 photos in the queue; all were over after 7 s of the end. Given up: 1." in text
    grown, stayed = (line for line in text.splitlines() if line.startswith(("| gateway", "| worker")))
    assert "+3600.0" in grown
    assert grown.endswith("| grows |")
    assert stayed.endswith("| stays |")
    assert (folder / "report.md").read_text() == f"{text}\n"
    assert (folder / "load.png").read_bytes().startswith(b"\x89PNG")


def test_photos_that_are_left_are_told(folder):
    assert "{'queued': 3.0} are left" in write_report(folder, ABOUT, None, {"queued": 3.0})


def test_every_photo_is_another_file_with_the_same_pixels():
    code = """
import io
from benchmarks.gateway.locustfile import another
from PIL import Image
file = io.BytesIO()
Image.radial_gradient("L").save(file, "JPEG")
made = {another(file.getvalue()) for _ in range(3)}
print(len(made), len({Image.open(io.BytesIO(each)).tobytes() for each in (*made, file.getvalue())}))
"""  # in a process of its own: locust changes sockets and threads of whoever imports it
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "1"]
