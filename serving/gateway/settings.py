"""Where the gateway's parts are and how much it takes, read from the environment."""

import base64
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as SettingsSourceError

from stocktake.errors import SettingsError
from stocktake.photo_header import MAX_BYTES

FETCHED_AT_ONCE = 4  # photos of one job by their URLs

Hosts = Annotated[frozenset[str], NoDecode]  # "a.example.com,b.example.com"


class GatewaySettings(BaseSettings):
    """A field for each environment variable, which is STOCKTAKE_GATEWAY_ and the field's name.

    Build it with `load_gateway_settings`, in a `main()` and never at import.
    """

    model_config = SettingsConfigDict(env_prefix="STOCKTAKE_GATEWAY_", env_ignore_empty=True, extra="ignore")

    database: str = "sqlite:///runs/gateway/records.db"  # or postgresql+psycopg://user:password@host/name
    photos: str = "runs/gateway/photos"  # folder or s3:// of photos
    redis: SecretStr | None = None  # redis://host:6379/0; None = photos are answered at once or not at all
    store_s: float = Field(4.0, gt=0, le=60)  # that an S3 store may be silent, twice; docs/gateway.md
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
    uploads: int = Field(32, ge=1)  # requests with photos that are read at a time; half of it for one token
    max_bodies_bytes: int = Field(256 << 20, ge=1, validate_default=True)  # of photos in all these requests
    attempts: int = Field(5, ge=1, le=100)  # until a photo is given up
    photos_in_flight: int = Field(16, ge=1, le=64)  # of one worker
    retry_s: float = Field(2.0, gt=0)  # before the second attempt; three times as much before each next one
    retry_at_most_s: float = Field(60.0, gt=0)
    reclaim_s: float = Field(60.0, ge=1)  # after which the photos of a worker that is silent are another's
    reconcile_s: float = Field(30.0, gt=0)  # between two looks for photos that the queue has lost
    alert_open_after: int = Field(2, ge=1, le=100)  # photos that show a void, until somebody is told
    alert_close_after: int = Field(2, ge=1, le=100)  # photos that show it refilled, until it is over
    photo_hosts: Hosts = frozenset()  # whose photos may be fetched by URL
    private_hosts: Hosts = frozenset()  # of both, which may be at addresses that are not public
    webhook_hosts: Hosts = frozenset()  # that may be called when a job is done
    webhook_secret: SecretStr | None = None  # signs what is sent there: whsec_ and a key in base64
    retention_days: int = Field(90, ge=1)  # of the photos' bytes
    record_days: int = Field(730, ge=1)  # of what was found on them
    blur: str | None = None  # package.module:function that makes people on photos unrecognisable

    @field_validator("webhook_secret")
    @classmethod
    def _has_a_key(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            key = secret.get_secret_value().removeprefix("whsec_")
            try:
                length = len(base64.b64decode(key, validate=True))
            except ValueError:
                length = 0
            if not 24 <= length <= 64 or secret.get_secret_value() == key:
                raise ValueError(
                    "write whsec_ and 24 to 64 random bytes in base64, as openssl rand -base64 32 does"
                )
        return secret

    @field_validator("max_bodies_bytes")
    @classmethod
    def _has_room_for_a_job(cls, max_bytes: int, info: ValidationInfo) -> int:
        needed = FETCHED_AT_ONCE * info.data.get("max_photo_bytes", 0)
        if max_bytes < needed:
            raise ValueError(f"give {needed} or more: {FETCHED_AT_ONCE} times MAX_PHOTO_BYTES")
        return max_bytes

    drift_every_s: float = Field(3600.0, ge=1)  # between two looks for drift
    measure_every: int = Field(4, ge=1)  # one photo in so many is unpacked to measure its picture
    retrain_cameras: int = Field(3, ge=1)  # that have drifted far before training is started
    retrain_pause_days: int = Field(14, ge=1)  # between two trainings of one model
    retrain_parameters: dict[str, Any] = {}  # of the pipeline, as JSON
    pipelines_url: str | None = None  # of Kubeflow Pipelines; None = somebody starts training by hand
    pipelines_token: SecretStr | None = None
    pipelines_namespace: str | None = None  # of the pipelines and runs, where Kubeflow has several users

    @field_validator("photo_hosts", "private_hosts", "webhook_hosts", mode="before")
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
    except SettingsSourceError as error:  # what is no JSON; it names the field
        raise SettingsError(f"STOCKTAKE_GATEWAY: {error}") from error
