"""Where the gateway's parts are and how much it takes, read from the environment."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stocktake.errors import SettingsError
from stocktake.photo_header import MAX_BYTES

Hosts = Annotated[frozenset[str], NoDecode]  # "a.example.com,b.example.com"


class GatewaySettings(BaseSettings):
    """A field for each environment variable, which is STOCKTAKE_GATEWAY_ and the field's name.

    Build it with `load_gateway_settings`, in a `main()` and never at import.
    """

    model_config = SettingsConfigDict(env_prefix="STOCKTAKE_GATEWAY_", env_ignore_empty=True, extra="ignore")

    database: str = "sqlite:///runs/gateway/records.db"  # or postgresql+psycopg://user:password@host/name
    photos: str = "runs/gateway/photos"  # folder or s3:// of photos
    redis: SecretStr | None = None  # redis://host:6379/0; None = photos are answered at once or not at all
    tokens: Path = Path("runs/gateway/tokens.yaml")  # of those who may use it; made where there is none

    shelves_url: str = "http://127.0.0.1:8080"  # of the predictors
    shelves_model: str = "shelf-detector"
    bins_url: str = "http://127.0.0.1:8080"
    bins_model: str = "bin-counter"
    predictor_token: SecretStr | None = None
    deadline_s: float = Field(30.0, gt=0, le=600)  # of one photo at a predictor

    max_photo_bytes: int = Field(32 << 20, ge=1024, le=MAX_BYTES)
    max_photos: int = Field(500, ge=1, le=10_000)  # of one job
    max_waiting: int = Field(10_000, ge=1)  # photos in the queue
    requests_per_minute: int = Field(600, ge=1)  # of one token
    attempts: int = Field(5, ge=1, le=100)  # until a photo is given up
    photo_hosts: Hosts = frozenset()  # whose photos may be fetched by URL
    webhook_hosts: Hosts = frozenset()  # that may be called when a job is done
    webhook_secret: SecretStr | None = None  # signs what is sent there
    retention_days: int = Field(90, ge=1)  # of the photos' bytes
    record_days: int = Field(730, ge=1)  # of what was found on them

    @field_validator("photo_hosts", "webhook_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            {host.strip().lower() for host in value.split(",") if host.strip()}
            if isinstance(value, str)
            else value
        )


def load_gateway_settings(**overrides: Any) -> GatewaySettings:
    """Read the environment; `overrides` are field names and win over it.

    Raises:
        SettingsError: a variable has an impossible value; the message names it.
    """
    try:
        return GatewaySettings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = "STOCKTAKE_GATEWAY_" + "_".join(map(str, first["loc"])).upper()
        raise SettingsError(f"{name}: {first['msg']}") from error
