"""What a server may be told, checked before anything is loaded."""

import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from stocktake.errors import SettingsError

MIN_TOKEN = 16  # characters; a shorter one can be guessed


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Ports, limits and tokens of a server.

    Raises:
        SettingsError: a value is out of range, or nothing can listen on a port; names the flag.
    """

    http_port: int = 8080
    grpc_port: int = 8081
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))  # CPU cores to use
    max_body_bytes: int = 128 << 20
    max_bodies_bytes: int = 1 << 30  # of all requests at a time
    workers: int = 1
    max_connections: int = 1000
    max_requests: int | None = None  # that wait or are answered at a time; None for what suits the models
    deadline_seconds: float = 30.0  # from the first byte of a request to its answer
    drain_seconds: float = 5.0  # not ready yet answering, after SIGTERM
    grace_seconds: float = 30.0  # for what was accepted, after that
    token: str | None = field(default=None, repr=False)  # that requests must carry; None asks for none
    admin_token: str | None = field(default=None, repr=False)  # to load and unload; None closes that
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    def __post_init__(self) -> None:
        self._check_limits()
        if (self.ssl_certfile is None) != (self.ssl_keyfile is None):
            raise SettingsError("--ssl_certfile and --ssl_keyfile: give both or neither")
        for name in ("ssl_certfile", "ssl_keyfile"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise SettingsError(f"--{name} {path}: there is no such file")
        if self.ssl_certfile is not None and self.ssl_keyfile is not None:
            _check_certificate(self.ssl_certfile, self.ssl_keyfile)
        if self.http_port == self.grpc_port:
            raise SettingsError(f"--grpc_port {self.grpc_port}: is that of REST; choose another port")
        for name in ("http_port", "grpc_port"):
            _check_free(name, getattr(self, name))

    def _check_limits(self) -> None:
        for name in ("threads", "max_body_bytes", "max_bodies_bytes", "max_connections", "max_requests"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise SettingsError(f"--{name} {getattr(self, name)}: give 1 or more")
        if self.max_bodies_bytes < self.max_body_bytes:
            raise SettingsError(
                f"--max_bodies_bytes {self.max_bodies_bytes}: give {self.max_body_bytes} or more, which is"
                " --max_body_bytes, or there are requests that can never be answered"
            )
        for name in ("http_port", "grpc_port"):
            if not 0 < getattr(self, name) < 65536:
                raise SettingsError(f"--{name} {getattr(self, name)}: give a number from 1 to 65535")
        for name in ("deadline_seconds", "drain_seconds", "grace_seconds"):
            if not 0 <= getattr(self, name) < 3600:
                raise SettingsError(f"--{name} {getattr(self, name)}: give 0 to 3600 seconds")
        if not self.deadline_seconds:
            raise SettingsError("--deadline_seconds 0: give more, or no request can be answered")
        if self.grace_seconds < self.deadline_seconds:
            raise SettingsError(
                f"--grace_seconds {self.grace_seconds:g}: give {self.deadline_seconds:g} or more, which is"
                " --deadline_seconds, or requests that were accepted are lost when the server ends"
            )
        if self.workers != 1:
            raise SettingsError(
                f"--workers {self.workers}: give 1; one process uses all cores, or a GPU that has no room for"
                " two. Run more replicas instead"
            )

    def grpc_credentials(self) -> grpc.ServerCredentials | None:
        """The certificate for gRPC, read again when it is renewed; None where there is none."""
        if self.ssl_certfile is None or self.ssl_keyfile is None:
            return None
        certificate, key = self.ssl_certfile, self.ssl_keyfile

        def read() -> Any:
            return grpc.ssl_server_certificate_configuration([(key.read_bytes(), certificate.read_bytes())])

        def renewed() -> Any:
            """Called for each connection; KServe does the same for REST."""
            try:
                _check_certificate(certificate, key)
            except SettingsError:  # half written
                return None
            return read()

        return grpc.dynamic_ssl_server_credentials(read(), renewed)


def read_token(flag: str, path: Path | None) -> str | None:
    """The token that a file holds; None where no file is given.

    Raises:
        SettingsError: the file can't be read, or holds no line of 16 characters or more.
    """
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--{flag} {path}: can't be read ({error}); give a file with one line") from error
    if len(token) < MIN_TOKEN or len(token.split()) > 1:
        raise SettingsError(
            f"--{flag} {path}: holds {len(token)} characters; give one word of {MIN_TOKEN} or more, "
            f"for example by `openssl rand -hex 32 > {path}`"
        )
    return token


def _check_certificate(certificate: Path, key: Path) -> None:
    try:  # neither server names the file that it does not like, and gRPC starts without it
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:  # SSLError is one
        raise SettingsError(
            f"--ssl_certfile {certificate}, --ssl_keyfile {key}: no certificate with its key ({error}); "
            "give both in PEM, the certificate with its chain"
        ) from error


def _check_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            raise SettingsError(f"--{name} {port}: {error.strerror}; choose another port") from error
