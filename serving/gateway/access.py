"""Who may do what: tokens with roles in a file, and sessions of people who have given theirs to the page.

The file holds digests, never a token, and is read again when it changes. A session is signed with the digest
of its token: it ends with the token, needs no memory, and holds on every gateway that has the file. Whoever
reads the file can be anybody, so it is made with mode 0600.
"""

import base64
import hashlib
import hmac
import logging
import secrets
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.gateway.errors import Forbidden, Unauthorized
from serving.gateway.fields import Name
from stocktake.errors import SettingsError
from stocktake.files import atomic_path, read_yaml

SCHEME = "bearer "
SESSION_S = 12 * 3600
TOKEN_BYTES = 32

logger = logging.getLogger(__name__)


class Role(StrEnum):
    """What a token is for; each may do what those before it may."""

    VIEWER = "viewer"  # reads
    OPERATOR = "operator"  # also submits photos, gives feedback, changes alerts
    ADMIN = "admin"  # also tries dead photos again, deletes, sees who has tokens


class TokenEntry(BaseModel):
    """One token in the file."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    stores: frozenset[Name] | None = None  # that it is limited to


class TokenFile(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(extra="forbid")

    tokens: list[TokenEntry]


@dataclass(frozen=True, slots=True)
class User:
    """Whose token a request came with."""

    name: str
    role: Role
    stores: frozenset[str] | None  # that it may see; None = all
    key: bytes  # that signs its sessions

    def require(self, role: Role) -> None:
        """Raise Forbidden where the role is too low."""
        ranks = list(Role)
        if ranks.index(self.role) < ranks.index(role):
            raise Forbidden(f"token {self.name!r} is of role {self.role}; this needs {role}")

    def sees(self, store: str) -> bool:
        """Whether it may see what is of a store."""
        return self.stores is None or store in self.stores


class Access:
    """The tokens of one file."""

    def __init__(self, path: Path):
        """
        Raises:
            SettingsError: there is no such file, or it is none of tokens; says where.
        """
        self._path = path
        self._version = self._stat()
        self._users = _read(path)

    def users(self) -> list[User]:
        """All whose tokens are known, by name."""
        self._refresh()
        return sorted(self._users.values(), key=lambda user: user.name)

    def by_token(self, token: str) -> User:
        """Whose token this is.

        Raises:
            Unauthorized: nobody's.
        """
        self._refresh()
        user = self._users.get(hashlib.sha256(token.encode()).digest())  # a digest tells nothing by its time
        if user is None:
            raise Unauthorized("nobody gave out this token; ask an administrator for one")
        return user

    def by_header(self, authorization: str) -> User:
        """Whose token is in an Authorization header; raises Unauthorized as `by_token`."""
        if authorization[: len(SCHEME)].lower() != SCHEME:
            raise Unauthorized("give a token: Authorization: Bearer <token>")
        return self.by_token(authorization[len(SCHEME) :].strip())

    def by_session(self, session: str) -> User:
        """Who has opened a session.

        Raises:
            Unauthorized: nobody has, or it is over.
        """
        self._refresh()
        name, expires, signature = (*session.split("."), "", "")[:3]
        for user in self._users.values():
            if _encode(user.name) == name and hmac.compare_digest(
                signature.encode(), _sign(user, f"session:{name}.{expires}").encode()
            ):
                if int(expires) > time.time():
                    return user
                break
        raise Unauthorized("the session is over; log in again")

    def _refresh(self) -> None:
        version = self._stat()
        if version == self._version:
            return
        self._version = version
        try:
            self._users = _read(self._path)
        except SettingsError as error:  # half edited: those that were known are still good
            logger.error("tokens are not read again: %s", error)

    def _stat(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_ino


def open_session(user: User) -> str:
    """The value of a cookie that stands for a token for SESSION_S seconds."""
    value = f"{_encode(user.name)}.{int(time.time()) + SESSION_S}"
    return f"{value}.{_sign(user, f'session:{value}')}"


def csrf_token(user: User, session: str) -> str:
    """What a form of this session has to bring along, which another site cannot know."""
    return _sign(user, f"csrf:{session}")


def check_csrf(user: User, session: str, given: str) -> None:
    """Raise Forbidden where a form was not one of ours."""
    if not hmac.compare_digest(given.encode(), csrf_token(user, session).encode()):
        raise Forbidden("this form is not of this session; load the page again")


def ensure_tokens(path: Path) -> str | None:
    """Make a file with one random admin token where there is none; returns that token, to be shown once."""
    return None if path.exists() else add_token(path, "admin", Role.ADMIN)


def add_token(path: Path, name: str, role: Role, stores: list[str] | None = None) -> str:
    """Add a token to the file, which is made where there is none; returns the token, kept nowhere.

    Raises:
        SettingsError: the name is taken or impossible.
    """
    known = _load(path).tokens if path.exists() else []
    if any(entry.name == name for entry in known):
        raise SettingsError(
            f"{path}: there is a token {name!r} already; remove it first, or take another name"
        )
    token = secrets.token_urlsafe(TOKEN_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    try:
        entry = TokenEntry(name=name, role=role, sha256=digest, stores=frozenset(stores) if stores else None)
    except ValidationError as error:
        raise SettingsError(f"{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error
    _write(path, TokenFile(tokens=[*known, entry]))
    return token


def remove_token(path: Path, name: str) -> None:
    """Take a token from the file; its sessions end, too.

    Raises:
        SettingsError: there is none of this name.
    """
    known = _load(path).tokens
    left = [entry for entry in known if entry.name != name]
    if len(left) == len(known):
        raise SettingsError(f"{path}: there is no token {name!r}")
    _write(path, TokenFile(tokens=left))


def _load(path: Path) -> TokenFile:
    try:
        return TokenFile.model_validate(read_yaml(path, SettingsError))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise SettingsError(f"{path}: {where}: {error.errors()[0]['msg']}") from error


def _read(path: Path) -> dict[bytes, User]:
    entries = _load(path).tokens
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise SettingsError(f"{path}: two tokens of one name")
    digests = [bytes.fromhex(entry.sha256) for entry in entries]
    return {
        digest: User(entry.name, entry.role, entry.stores, digest)
        for digest, entry in zip(digests, entries, strict=True)
    }


def _write(path: Path, content: TokenFile) -> None:
    fields = content.model_dump(mode="json", exclude_none=True)
    with atomic_path(path) as part:
        part.touch(mode=0o600, exist_ok=False)
        part.write_text(yaml.safe_dump(fields, sort_keys=False), "utf-8")


def _sign(user: User, text: str) -> str:
    return hmac.new(user.key, text.encode(), hashlib.sha256).hexdigest()


def _encode(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")
