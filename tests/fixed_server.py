"""A server in the place of a predictor that answers everything alike, as a proxy may."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<html>Request Entity Too Large</html>"


class FixedServer:
    """Listens on the loopback device while it is entered."""

    def __init__(self, status: int = 200, content: bytes = PAGE, **headers: str):
        self.asked = 0
        fixed = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                fixed.asked += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FixedServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
