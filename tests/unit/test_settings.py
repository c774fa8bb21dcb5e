import re
from pathlib import Path

import pytest

from stocktake.errors import SettingsError
from stocktake.settings import Settings, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ALIASES = [field.validation_alias for field in Settings.model_fields.values()]
VARIABLES = [name for alias in ALIASES for name in getattr(alias, "choices", [alias])]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_page_has_every_variable_and_no_other():
    rows = re.findall(r"^\| (`.+?) \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(VARIABLES)


def test_a_laptop_needs_no_variable():
    settings = load_settings()
    assert settings.store == "runs/store"
    assert settings.cpu_workers >= 1
    assert settings.transfer_workers >= 8
    assert settings.mlflow_tracking_uri is None


def test_variables_are_read_and_arguments_win(monkeypatch):
    monkeypatch.setenv("STOCKTAKE_STORE", "s3://bucket/x")
    monkeypatch.setenv("STOCKTAKE_WORKERS", "3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.org/")
    monkeypatch.setenv("AWS_REGION", "")
    settings = load_settings(workers=5)
    assert settings.store == "s3://bucket/x"
    assert settings.s3_endpoint_url == "https://s3.example.org"
    assert (settings.workers, settings.cpu_workers, settings.transfer_workers) == (5, 5, 5)
    assert settings.aws_region is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STOCKTAKE_WORKERS", "0", "STOCKTAKE_WORKERS: .*greater than or equal to 1, found '0'"),
        ("STOCKTAKE_WORKERS", "many", "STOCKTAKE_WORKERS: .*integer.*found 'many'"),
        ("STOCKTAKE_S3_RETRIES", "-1", "STOCKTAKE_S3_RETRIES"),
        ("S3_ENDPOINT_URL", "localhost:9000", "http://host:9000.*found 'localhost:9000'"),
        ("S3_ENDPOINT_URL", "http://host/path", "no path"),
        ("AWS_ACCESS_KEY_ID", "someone", "must be set together"),
    ],
)
def test_an_impossible_value_is_named(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_a_secret_is_never_shown(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-value")
    assert "hidden-value" not in repr(load_settings())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hidden-value" not in str(caught.value)
