"""A model dir: weights, model.onnx, the card that says how to use them, and the checksums over all of it.

    weights.pt  model.onnx  model.int8.xml  model.int8.bin  model_card.json  SHA256SUMS

The two of int8 are there where training photos were, to calibrate on.
The SHA-256 of SHA256SUMS is the digest of the model: it changes if any byte of any file does.
"""

from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from stocktake.drift.histograms import Histogram
from stocktake.errors import ModelError
from stocktake.files import atomic_path, explain_os_error, is_part, sha256_file
from stocktake.runner import Precision

CARD_FILE = "model_card.json"
MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.xml"  # its weights are in model.int8.bin
SUMS_FILE = "SHA256SUMS"

Task = Literal["shelf-detector", "bin-counter"]
Settings = TypeVar("Settings", bound=BaseModel)


class PrecisionVerdict(BaseModel):
    """Whether a model may be served in a precision, and the scores on validation photos that this rests on.

    `scores` is empty where it could not be scored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    allowed: bool
    reason: str = Field(min_length=1)
    scores: dict[str, float] = Field(default_factory=dict)
    photos: int = Field(default=0, ge=0, description="that it was scored on")


class ModelCard(BaseModel):
    """What one has to know to run a model, to trust it, and to be allowed to use it.

    A value out of range or an unknown field is a pydantic ValidationError; `read` makes it a ModelError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    task: Task
    name: str = Field(min_length=1)
    classes: list[str] = Field(min_length=1)
    input_size: int = Field(ge=32, le=4096, description="side of the square that the model sees, px")

    score_threshold: float = Field(default=0.25, ge=0, le=1, description="products below are not reported")
    void_score_threshold: float = Field(
        default=0.15, ge=0, le=1, description="products below have no say in where voids are"
    )
    iou_threshold: float = Field(default=0.6, gt=0, le=1, description="overlap at which NMS drops a box")
    max_detections: int = Field(default=1000, ge=1)
    void_settings: dict[str, Any] = Field(default_factory=dict, description="fields of VoidSettings")
    verification: dict[str, Any] = Field(
        default_factory=dict, description="fields of VerificationSettings, for a bin counter"
    )

    weights: str | None = Field(default=None, description="file name of what the ONNX file was made from")
    precisions: list[Precision] = Field(default=["fp32"], min_length=1, description="what may be served")
    precision_gate: dict[Precision, PrecisionVerdict] = Field(
        default_factory=dict,
        validate_default=True,
        description="what each precision scored, and why it may be served or not; fp32 needs no verdict",
    )
    licence: str = Field(min_length=1, description="of the weights")
    data_licence: str = Field(min_length=1, description="of the photos they were trained on")
    dataset: str = Field(min_length=1)
    dataset_digest: str = Field(min_length=1)
    metrics: dict[str, float] = Field(default_factory=dict)
    reference: dict[str, Histogram] = Field(
        default_factory=dict, description="of photos and answers when it was made, by measure, for drift"
    )
    created: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    stocktake_version: str = Field(min_length=1)

    @field_validator("precision_gate")
    @classmethod
    def _allows_what_is_served(
        cls, gate: dict[Precision, PrecisionVerdict], info: ValidationInfo
    ) -> dict[Precision, PrecisionVerdict]:
        for precision in info.data.get("precisions", ()):
            if precision != "fp32" and not (precision in gate and gate[precision].allowed):
                raise ValueError(f"does not allow {precision}, which is among the precisions")
        return gate

    def write(self, model_dir: Path) -> Path:
        """Write the card into a model dir. Returns its path."""
        path = model_dir / CARD_FILE
        with atomic_path(path) as part:
            part.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, model_dir: Path) -> Self:
        """Read the card of a model dir.

        Raises:
            ModelError: there is none, or a field is missing, unknown or out of range; names file and field.
        """
        path = model_dir / CARD_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelError(explain_os_error(error, path)) from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ModelError(f"{path}: {field}: {first['msg']}; export the model again") from error


def open_card(model_dir: Path, task: Task) -> tuple[ModelCard, str]:
    """Check a model dir and read its card. Returns the card and the digest.

    Raises:
        ModelError: a file is missing or damaged, or the card is for another task; names the file.
    """
    digest, card = verify_sums(model_dir), ModelCard.read(model_dir)
    if card.task != task:
        kind = task.replace("-", " ")
        raise ModelError(
            f"{model_dir / CARD_FILE}: task is {card.task}, not {task}; give a {kind}'s model dir"
        )
    return card, digest


def read_settings(settings: type[Settings], fields: dict[str, Any], field: str, model_dir: Path) -> Settings:
    """The settings that one field of a card holds.

    Raises:
        ModelError: a value is unknown or out of range; names the card and the value.
    """
    try:
        return settings.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (field, *first["loc"]))
        raise ModelError(f"{model_dir / CARD_FILE}: {where}: {first['msg']}") from error


def write_sums(model_dir: Path) -> str:
    """Write SHA256SUMS over every file of a model dir, in the format of `sha256sum`. Returns the digest."""
    files = sorted(path for path in model_dir.rglob("*") if path.is_file() and not is_part(path.name))
    lines = [
        f"{sha256_file(path)}  {path.relative_to(model_dir).as_posix()}\n"
        for path in files
        if path != model_dir / SUMS_FILE
    ]
    with atomic_path(model_dir / SUMS_FILE) as part:
        part.write_text("".join(lines), encoding="utf-8")
    return sha256_file(model_dir / SUMS_FILE)


def verify_sums(model_dir: Path) -> str:
    """Check every file that SHA256SUMS lists, the card and model.onnx among them. Returns the digest.

    Files that are not listed are not looked at.

    Raises:
        ModelError: a file is missing, unreadable or changed, or SHA256SUMS is; names the file.
    """
    path = model_dir / SUMS_FILE
    sums = read_sums(model_dir)
    for needed in (CARD_FILE, MODEL_FILE):
        if needed not in sums:
            raise ModelError(f"{path}: does not list {needed}; export the model again")
    for name, expected in sums.items():
        try:
            found = sha256_file(model_dir / name)
        except OSError as error:
            raise ModelError(explain_os_error(error, model_dir / name)) from error
        if found != expected:
            raise ModelError(
                f"{model_dir / name}: its SHA-256 is {found[:12]}…, {SUMS_FILE} says {expected[:12]}…; "
                "copy the model dir again"
            )
    return sha256_file(path)


def read_sums(model_dir: Path) -> dict[str, str]:
    """What SHA256SUMS lists: relative file name to SHA-256.

    Raises:
        ModelError: there is no such file, or a line is not one of `sha256sum`.
    """
    path = model_dir / SUMS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(explain_os_error(error, path)) from error
    return _parse_sums(content, path)


def _parse_sums(content: bytes, path: Path) -> dict[str, str]:
    sums = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        inside = name and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        if not separator or not inside or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ModelError(f"{path}: line {number} is not '<sha256>  <file>'; export the model again")
        sums[name] = digest
    return sums
