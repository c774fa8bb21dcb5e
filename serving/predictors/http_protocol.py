"""HTTP requests that end before any route sees them, answered as all others: `{"error": …}`."""

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol


class JsonErrorProtocol(HttpToolsProtocol):
    """Uvicorn's, which answers in plain text what is not HTTP or has an impossible Content-Length.

    What follows such a request can't be told from its body, so this is the one error that ends a connection.
    """

    def send_400_response(self, msg: str) -> None:
        """Answer and close."""
        body = orjson.dumps({"error": msg})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(
            body
        )
        self.transport.write(STATUS_LINE[400] + head + body)
        self.transport.close()
