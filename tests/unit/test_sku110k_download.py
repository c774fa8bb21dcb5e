"""Ingest from a server that stops half-way, in a process that is killed."""

import http.server
import signal
import subprocess
import sys
import threading
import time

from stocktake.dataset import read_photo_bytes
from tests.sku110k_set import make_archive, make_set, take


class StallingServer(http.server.ThreadingHTTPServer):
    """Serves an archive, and stops half-way while `stall` is set."""

    daemon_threads = True

    def __init__(self, body: bytes):
        super().__init__(("127.0.0.1", 0), StallingHandler)
        self.body = body
        self.stall = threading.Event()
        self.stop = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/SKU110K_fixed.tar.gz?key=1"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class StallingHandler(http.server.BaseHTTPRequestHandler):
    server: StallingServer

    def do_GET(self):
        body = self.server.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.stall.is_set():
            self.wfile.write(body[: len(body) // 2])
            self.server.stop.wait(60)
            return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_a_killed_download_continues(tmp_path):
    shelves = make_set(tmp_path / "shelves", {"train": 300, "test": 20})
    server = StallingServer(make_archive(shelves, tmp_path / "set.tar.gz").read_bytes())
    server.stall.set()
    program = (
        "import sys, pathlib\n"
        "from stocktake.shelf.sku110k import ingest\n"
        "ingest(sys.argv[1], pathlib.Path(sys.argv[2]), store=sys.argv[3], progress=False)\n"
    )
    out, store = tmp_path / "out", tmp_path / "store"
    journal = out / "ingest.journal.jsonl"
    child = subprocess.Popen([sys.executable, "-c", program, server.url, str(out), str(store)])
    try:
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_text().count("\n") < 60:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (out / "index.parquet").exists()
    with journal.open("a") as file:
        file.write('{"name": "torn')  # what a kill in the middle of a line leaves
    server.stall.clear()
    server.stop.set()
    report, index = take(server.url, tmp_path, store=str(store))
    server.shutdown()
    server.server_close()
    assert report.source == server.url.removesuffix("?key=1")  # a query may hold a signature
    assert report.known >= 59
    assert report.known + report.examined == report.photos_kept == 320
    assert index.store == str(store / "datasets/SKU110K_fixed")
    stored = sorted(path.name for path in (store / "datasets/SKU110K_fixed/images").glob("*.jpg"))
    assert stored == sorted(photo.uri.removeprefix("images/") for photo in index.photos)
    assert len(stored) == 320
    assert all(read_photo_bytes(index, photo) for photo in index.photos)
