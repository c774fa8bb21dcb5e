"""A server that webhooks are sent to, and that checks their signatures as the documentation says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Listens on the loopback device while it is entered."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self.told: dict[str, list[dict[str, Any]]] = {}  # by job
        self.headers: list[dict[str, str]] = []
        self.status = 204  # that it answers
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(dict(self.headers), body))
                self.send_header("Content-Length", "0")
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}/done"

    @property
    def settings(self) -> dict[str, str]:
        """What a gateway has to know to call it."""
        secret = "whsec_" + base64.b64encode(self._key).decode()
        return {"webhook_hosts": self.host, "private_hosts": "127.0.0.1", "webhook_secret": secret}

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self.close()

    def close(self) -> None:
        """Nobody listens any more."""
        self._server.server_close()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Keep what a call says, and the status of the answer: 400 where its signature is wrong or old."""
        self.headers.append(headers)
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(self._key, signed, hashlib.sha256).digest()).decode()
        fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
        if not fresh or not hmac.compare_digest(headers["webhook-signature"], f"v1,{expected}"):
            return 400
        if self.status < 300:
            said = json.loads(body)
            self.told.setdefault(said["data"]["id"], []).append(said["data"])
        return self.status
