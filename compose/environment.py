"""Write .env for compose.yaml: random passwords, which stay as they are, and the versions that others name.

Runs where there is nothing but Python: `python3 compose/environment.py`, or `make env`.
"""

import base64
import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECRETS = (
    "REDIS_PASSWORD",
    "POSTGRES_PASSWORD",
    "GATEWAY_DATABASE_PASSWORD",
    "S3_ACCESS_KEY_ID",
    "S3_SECRET_ACCESS_KEY",
    "GRAFANA_PASSWORD",
)
CHOICES = {
    "COMPOSE_PROFILES": "tracking,monitoring",  # without them: no MLflow, no Prometheus and Grafana
    "SHELVES_MODEL": "./runs/demo/model",  # of `make demo`
    "BINS_MODEL": "./runs/demo-bins/model",  # of `make demo-bins`
}
CHART_IMAGES = {
    "REDIS_IMAGE": "redis",
    "POSTGRESQL_IMAGE": "postgresql",
    "MLFLOW_IMAGE": "mlflow",
    "OBJECT_STORE_IMAGE": "objectStore",
}


def chart_values(text: str) -> dict[str, str]:
    """The plain values of a chart's values.yaml by dotted names, such as 'redis.image.tag'."""
    path: list[str] = []
    found = {}
    for indent, key, value in re.findall(r"^( *)(\w+): *([^#{\[\n]*)", text, re.MULTILINE):
        path[len(indent) // 2 :] = [key]
        if value.strip():
            found[".".join(path)] = value.strip().strip('"')
    return found


def versions() -> dict[str, str]:
    """What charts/platform and pyproject.toml name; read anew each time."""
    values = chart_values((ROOT / "charts/platform/values.yaml").read_text())
    images = {
        name: "{registry}/{repository}:{tag}".format(
            **{key: values[f"{part}.image.{key}"] for key in ("registry", "repository", "tag")}
        )
        for name, part in CHART_IMAGES.items()
    }
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return {
        "STOCKTAKE_VERSION": version[1] if version else "",
        "REDIS_MAX_MEMORY": values["redis.maxMemory"],
        **images,
    }


def environment(before: str) -> str:
    """The text of .env; passwords, choices and lines of one's own in the text before it stay."""
    kept = dict(re.findall(r"^(\w+)=(.*)$", before, re.MULTILINE))
    wanted = {
        **{name: secrets.token_hex(24) for name in SECRETS},
        "WEBHOOK_SECRET": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
        **CHOICES,
        **kept,
        **versions(),
    }
    return "".join(f"{name}={value}\n" for name, value in wanted.items())


def main() -> None:
    """Write .env, readable by its owner only."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".env"
    text = environment(path.read_text() if path.exists() else "")
    partial = path.with_name(f"{path.name}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
    print(f"{path} has the passwords; next: docker compose up --build")


if __name__ == "__main__":
    main()
