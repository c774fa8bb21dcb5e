"""Tokens in a file, sessions signed with them, and how often they may be used."""

import stat
import time

import pytest
import yaml

from serving.gateway import access
from serving.gateway.access import (
    Access,
    Role,
    add_token,
    check_csrf,
    csrf_token,
    ensure_tokens,
    open_session,
)
from serving.gateway.errors import Forbidden, Overloaded, Unauthorized
from serving.gateway.rates import Rates
from stocktake.errors import SettingsError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "tokens.yaml"


def test_the_first_token_is_made_once_and_kept_nowhere(path):
    token = ensure_tokens(path)
    assert token is not None
    assert ensure_tokens(path) is None
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    user = Access(path).by_header(f"bearer {token}")
    assert (user.name, user.role, user.stores) == ("admin", Role.ADMIN, None)


def test_tokens_come_and_go_while_it_runs(path):
    admin = ensure_tokens(path) or ""
    known = Access(path)
    token = add_token(path, "anna", Role.OPERATOR, ["Main Street", " "])
    anna = known.by_token(token)
    assert anna.sees("Main Street")
    assert not anna.sees("Elsewhere")
    session = open_session(anna)
    assert known.by_session(session).name == "anna"
    access.remove_token(path, "anna")
    with pytest.raises(Unauthorized):
        known.by_token(token)
    with pytest.raises(Unauthorized):
        known.by_session(session)
    assert known.by_token(admin).name == "admin"


def test_a_file_that_is_half_edited_locks_nobody_out(path):
    admin = ensure_tokens(path) or ""
    known = Access(path)
    path.write_text("tokens: [{name: admin")
    assert known.by_token(admin).name == "admin"
    with pytest.raises(SettingsError, match="not YAML"):
        Access(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"role": "boss"}, "tokens.0.role"),
        ({"sha256": "x"}, "tokens.0.sha256"),
        ({"name": "a b"}, "tokens.0.name"),
        ({"password": "x"}, "tokens.0.password"),
    ],
)
def test_a_file_that_is_wrong(path, change, words):
    ensure_tokens(path)
    content = yaml.safe_load(path.read_text())
    content["tokens"][0] |= change
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SettingsError, match=words):
        Access(path)


def test_names_are_given_once(path):
    add_token(path, "anna", Role.VIEWER)
    with pytest.raises(SettingsError, match="already"):
        add_token(path, "anna", Role.ADMIN)
    with pytest.raises(SettingsError, match="name: "):
        add_token(path, "no spaces", Role.ADMIN)
    with pytest.raises(SettingsError, match="no token 'bert'"):
        access.remove_token(path, "bert")


def test_sessions_cannot_be_made_up(path, monkeypatch):
    token = add_token(path, "anna", Role.VIEWER)
    known = Access(path)
    user = known.by_token(token)
    session = open_session(user)
    name, expires, signature = session.split(".")
    add_token(path, "adam", Role.ADMIN)
    other = open_session(known.users()[0]).split(".")[0]
    for forged in (
        "", "...", session[:-1], f"{name}.{int(expires) + 1}.{signature}", f"{other}.{expires}.{signature}",
        f"{name}.x.{signature}", "é.1.é", f"{name}.{expires}.{signature}.more"[:-5] + "x",
    ):  # fmt: skip
        with pytest.raises(Unauthorized):
            known.by_session(forged)
    later = time.time() + access.SESSION_S + 1
    monkeypatch.setattr(access.time, "time", lambda: later)
    with pytest.raises(Unauthorized, match="over"):
        known.by_session(session)


def test_forms_of_other_sites(path):
    add_token(path, "anna", Role.VIEWER)
    bert = Access(path).by_token(add_token(path, "bert", Role.VIEWER))
    session = open_session(bert)
    check_csrf(bert, session, csrf_token(bert, session))
    for given in ("", "é", csrf_token(bert, session + "x"), session.split(".")[2]):
        with pytest.raises(Forbidden):
            check_csrf(bert, session, given)


def test_rates():
    clock = [0.0]
    rates = Rates(60, lambda: clock[0])
    for _ in range(60):
        rates.take("a")
    with pytest.raises(Overloaded) as refusal:
        rates.take("a")
    assert refusal.value.retry_after_s == 1
    rates.take("b")
    clock[0] = 2.0
    rates.take("a")
    rates.take("a")
    with pytest.raises(Overloaded):
        rates.take("a")
    clock[0] = 10_000.0
    for _ in range(60):
        rates.take("a")
    with pytest.raises(Overloaded):
        rates.take("a")
