"""Settings are read from the environment, and the table of them in the documentation is true."""

import re
from pathlib import Path

import pytest

from serving.gateway.settings import GatewaySettings, load_gateway_settings
from stocktake.errors import SettingsError

DOCUMENT = Path(__file__).parents[2] / "docs/gateway.md"


def test_the_table_in_the_documentation():
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? ?\|", DOCUMENT.read_text(), re.MULTILINE)
    fields = GatewaySettings.model_fields
    assert dict(rows) == {
        name.upper(): "" if field.default in (None, frozenset()) else str(field.default)
        for name, field in fields.items()
    }


def test_hosts_are_a_list(monkeypatch):
    monkeypatch.setenv("STOCKTAKE_GATEWAY_PHOTO_HOSTS", " A.example, b.example:8080 ,")
    assert load_gateway_settings().photo_hosts == {"a.example", "b.example:8080"}


@pytest.mark.parametrize(
    ("name", "value"), [("MAX_PHOTOS", "0"), ("DEADLINE_S", "soon"), ("WEBHOOK_SECRET", "x")]
)
def test_values_that_are_impossible(monkeypatch, name, value):
    monkeypatch.setenv(f"STOCKTAKE_GATEWAY_{name}", value)
    with pytest.raises(SettingsError, match=f"STOCKTAKE_GATEWAY_{name}"):
        load_gateway_settings()


def test_parameters_that_are_no_json(monkeypatch):
    monkeypatch.setenv("STOCKTAKE_GATEWAY_RETRAIN_PARAMETERS", "{")
    with pytest.raises(SettingsError, match="retrain_parameters"):
        load_gateway_settings()
