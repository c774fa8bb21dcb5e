"""Ask MLflow as a client would: its database, its artifacts, and a Host header that it must refuse."""

import json
import os
import secrets
import sys
import urllib.error
import urllib.request


def main() -> int:
    """Returns 0 when the server does what it should."""
    file = f"/api/2.0/mlflow-artifacts/artifacts/helm-test/{secrets.token_hex(8)}"
    content, search = secrets.token_bytes(65536), json.dumps({"max_results": 1}).encode()
    experiments = "/api/2.0/mlflow/experiments/search"
    try:
        _expect(200, "health", "GET", "/health")
        _expect(200, "database", "POST", experiments, search)
        _expect(403, "another Host header", "POST", experiments, search, {"Host": "attacker.example"})
        _expect(200, "artifact written", "PUT", file, content)
        if _expect(200, "artifact read", "GET", file) != content:
            raise ValueError("artifact read: not what was written")
        _expect(200, "artifact deleted", "DELETE", file)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _expect(
    status: int,
    what: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    headers = {
        "Content-Type": "application/json" if path.endswith("search") else "application/octet-stream"
    } | (headers or {})
    url = os.environ["MLFLOW_TRACKING_URI"] + path
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            got, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        got, content = error.code, error.read()
    if got != status:
        raise ValueError(f"{what}: {got} in place of {status}: {content[:300]!r}")
    print(f"{what}: as it should be")
    return content


if __name__ == "__main__":
    sys.exit(main())
