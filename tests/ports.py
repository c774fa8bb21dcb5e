"""Ports of the loopback device that nobody listens on."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """`count` different ones; they were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def free_port() -> int:
    """One port that was free a moment ago."""
    return free_ports(1)[0]
