"""Where things are: stores, caches and servers, read from the environment by `load_settings`.

Hyper-parameters are arguments and model facts are in the model card; only the place differs between a laptop
and a cluster, so only the place is an environment variable.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stocktake.errors import SettingsError
from stocktake.runner import EngineName, Precision


class Settings(BaseSettings):
    """One field per environment variable; the variable's name is the field's alias.

    Build it with `load_settings`, in a `main()` and never at import.
    """

    model_config = SettingsConfigDict(populate_by_name=True, env_ignore_empty=True, extra="ignore")

    store: str = Field("runs/store", validation_alias="STOCKTAKE_STORE")
    cache: Path = Field(Path("runs/cache"), validation_alias="STOCKTAKE_CACHE")
    work_dir: Path | None = Field(None, validation_alias="STOCKTAKE_WORK_DIR")  # of checkpoints
    # how often the newest checkpoint goes to the store; None = never
    checkpoint_minutes: float | None = Field(None, gt=0, validation_alias="STOCKTAKE_CHECKPOINT_MINUTES")
    workers: int | None = Field(None, ge=1, le=1024, validation_alias="STOCKTAKE_WORKERS")
    # of what runs models; None = the best that there is, see `runtime`
    engine: EngineName | None = Field(None, validation_alias="STOCKTAKE_ENGINE")
    precision: Precision | None = Field(None, validation_alias="STOCKTAKE_PRECISION")
    s3_endpoint_url: str = Field(
        "https://s3.amazonaws.com",
        validation_alias=AliasChoices("S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    )
    aws_access_key_id: str | None = Field(None, validation_alias="AWS_ACCESS_KEY_ID")
    aws_secret_access_key: SecretStr | None = Field(None, validation_alias="AWS_SECRET_ACCESS_KEY")
    aws_session_token: SecretStr | None = Field(None, validation_alias="AWS_SESSION_TOKEN")
    aws_region: str | None = Field(None, validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    s3_retries: int = Field(8, ge=0, le=100, validation_alias="STOCKTAKE_S3_RETRIES")
    s3_answer_s: float = Field(60.0, gt=0, validation_alias="STOCKTAKE_S3_ANSWER_S")
    mlflow_tracking_uri: str | None = Field(None, validation_alias="MLFLOW_TRACKING_URI")

    @field_validator("s3_endpoint_url")
    @classmethod
    def _endpoint_is_a_bare_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ValueError("must look like http://host:9000 or https://host, with no path")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _key_and_secret_come_together(self) -> "Settings":
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together")
        return self

    @property
    def cpu_workers(self) -> int:
        """Threads for work that keeps a core busy: `workers`, or the cores that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def transfer_workers(self) -> int:
        """Threads for work that waits for a network or a disk: `workers`, or at least eight."""
        return self.workers or max(8, self.cpu_workers)


def load_settings(**overrides: Any) -> Settings:
    """Read the environment; `overrides` are field names and win over it.

    Raises:
        SettingsError: a variable has an impossible value; the message names it and says what was found.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = (_describe(problem) for problem in error.errors())
        raise SettingsError("; ".join(lines)) from None


def _describe(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    found = "" if "SECRET" in name or "TOKEN" in name else f", found {problem['input']!r}"
    return f"{name}: {message}{found}"
