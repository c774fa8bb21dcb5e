"""A real PostgreSQL server on the loopback device, with a password of its own."""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2

from tests.ports import free_port
from tests.programs import lack

NOBODY = 65534  # PostgreSQL refuses to run as root


class PostgresServer:
    """One empty database `mlflow`, owned by `mlflow`; skips the test where there is no PostgreSQL."""

    def __init__(self) -> None:
        self._binaries = find_postgres() or lack("PostgreSQL")
        self.port, self.password = free_port(), secrets.token_hex(16)
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's folders are closed to others
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
            self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        password, data = self._folder / "password", self._folder / "data"
        password.write_text(self.password)
        password.chmod(0o644)
        subprocess.run(
            [self._binaries / "initdb", f"--pgdata={data}", "--username=mlflow", f"--pwfile={password}",
             "--auth=scram-sha-256", "--no-sync"],
            check=True, capture_output=True, cwd=self._folder, **self._as,
        )  # fmt: skip
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", data, "-F", "-h", "127.0.0.1", "-p", str(self.port),
                 "-k", self._folder],
                stdout=log, stderr=log, cwd=self._folder, **self._as,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with self.connect("postgres").cursor() as cursor:
                    cursor.execute("create database mlflow")
                return
            except psycopg2.OperationalError:
                time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'server.log').read_text()[-2000:]}")

    def connect(self, database: str = "mlflow") -> Any:
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="mlflow", password=self.password, dbname=database
        )
        connection.autocommit = True
        return connection

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder)


def find_postgres() -> Path | None:
    """The folder of `initdb` and `postgres`, which Debian keeps off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next(
        (each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()), None
    )
