"""A real Redis on the loopback device, which can be killed and comes back with what it had."""

import subprocess
import time
from pathlib import Path

from tests.ports import free_port
from tests.programs import need


class RedisServer:
    """Appends to a file, as it should where it is a queue."""

    def __init__(self, folder: Path, *options: str):
        self._binary, self._folder, self._options = need("redis-server"), folder, options
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "redis.log"
        before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder,
                 "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", *self._options],
                stdout=output,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while b"Ready to accept" not in log.read_bytes()[before:]:
            assert self.process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
