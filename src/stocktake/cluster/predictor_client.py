"""A predictor asked over v2 REST, with what the library has: no KServe client in the training image."""

import json
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from stocktake.errors import StoreError

TIMEOUT_S = 60.0
SAMPLE = re.compile(r"^(stocktake_\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class PredictorClient:
    """One predictor at one address."""

    def __init__(
        self, url: str, model: str, token: str | None = None, asked: Callable[[], None] = lambda: None
    ):
        """`url`: base of REST; `model`: the name that it serves; `token`: that it asks for, if it does.

        `asked` is called after each request, which may take long.
        """
        self.url, self._model = url.rstrip("/"), quote(model, safe="")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._asked = asked
        self._http = urllib3.PoolManager(retries=False, timeout=TIMEOUT_S)

    def metadata(self) -> dict[str, Any]:
        """What the model says of itself: versions, properties.

        Raises:
            StoreError: it does not answer, or refuses.
        """
        return self._json("GET", f"/v2/models/{self._model}")

    def infer(self, photo: bytes) -> dict[str, Any]:
        """The outputs for one photo, by name, as flat lists.

        Raises:
            StoreError: it does not answer, or refuses.
        """
        tensor = struct.pack("<I", len(photo)) + photo
        image = {"name": "image", "shape": [1], "datatype": "BYTES"}
        header = json.dumps({"inputs": [{**image, "parameters": {"binary_data_size": len(tensor)}}]}).encode()
        length = {"Inference-Header-Content-Length": str(len(header))}
        said = self._json("POST", f"/v2/models/{self._model}/infer", header + tensor, length)
        return {output["name"]: output["data"] for output in said["outputs"]}

    def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        """Our own metrics: name, labels, value.

        Raises:
            StoreError: it does not answer.
        """
        text = self._ask("GET", "/metrics").decode()
        return [
            (name, dict(LABEL.findall(labels)), float(value)) for name, labels, value in SAMPLE.findall(text)
        ]

    def _json(self, method: str, path: str, *rest: Any) -> dict[str, Any]:
        """An answer of a model; all have `versions` or `outputs`."""
        try:
            found: dict[str, Any] = json.loads(self._ask(method, path, *rest))
            if found.keys() & {"versions", "outputs"}:
                return found
        except (ValueError, AttributeError):
            pass
        raise StoreError(f"{method} {self.url}{path}: no predictor answers there; look at --url")

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        where = f"{method} {self.url}{path}"
        try:
            answer = self._http.request(
                method, f"{self.url}{path}", body=body, headers={**self._headers, **(headers or {})}
            )
        except HTTPError as error:
            raise StoreError(
                f"{where}: no answer ({error}); pods can reach each other where no NetworkPolicy forbids it; "
                "from outside forward a port to the pod and give --url http://localhost:PORT"
            ) from error
        finally:
            self._asked()
        if answer.status != 200:
            raise StoreError(f"{where}: {answer.status} {answer.data[:200].decode('utf-8', 'replace')}")
        return answer.data
