"""An S3 server on the loopback device that reads what is put slowly but steadily, as over a thin link."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

READ_BYTES = 1 << 16


@contextmanager
def slow_s3(bytes_per_s: float) -> Iterator[tuple[str, list[int]]]:
    """Its URL, and the sizes of the bodies that it has read."""
    read: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            left = size = int(self.headers["Content-Length"])
            while left:
                data = self.rfile.read(min(left, READ_BYTES))
                if not data:
                    return
                left -= len(data)
                time.sleep(len(data) / bytes_per_s)
            read.append(size)
            self.send_response(200)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES)  # little waits in the kernel
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", read
    finally:
        server.shutdown()
        server.server_close()
