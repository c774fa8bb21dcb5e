"""A server on the loopback device that takes connections and never answers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_server() -> Iterator[tuple[str, list[socket.socket]]]:
    """Its URL, and the connections that it has taken; at the end all are closed."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        taking = threading.Thread(target=accept, daemon=True)
        taking.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", held
        finally:
            server.shutdown(socket.SHUT_RDWR)  # ends the wait for the next one
            taking.join(60)
            for each in held:
                each.close()
