"""The connection to the records, and its schema."""

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from serving.gateway.errors import Away
from stocktake.errors import SettingsError

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_MS = 30_000  # that a writer of SQLite waits for another
CONNECT_S = 5  # that a server has to answer
STATEMENT_MS = 30_000  # that one statement may take at a server, its wait for others included
CONNECTION_S = 15  # that a thread waits for one of our connections
POOL, MORE = 5, 3  # connections that a process keeps, and has beside them in a rush: a server's are few
ALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}  # s, or a server is gone


class Records:
    """What is remembered of jobs, photos and alerts.

    Sessions belong to one thread; call them through `anyio.to_thread` where an event loop runs.
    """

    def __init__(self, url: str):
        """`url`: as SQLAlchemy has it, `sqlite:///FILE` or `postgresql+psycopg://…`.

        Raises:
            SettingsError: it is no such URL.
        """
        try:
            self.url = make_url(url)
            if self.url.drivername == "sqlite" and self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(
                self.url,
                pool_pre_ping=not self.is_sqlite,
                pool_size=POOL,
                max_overflow=MORE,
                pool_timeout=CONNECTION_S,
                connect_args={} if self.is_sqlite else _limits(self.url),
            )
        except (ArgumentError, ModuleNotFoundError) as error:
            raise SettingsError(f"STOCKTAKE_GATEWAY_DATABASE: {error}") from error
        if self.is_sqlite:
            _prepare_sqlite(self.engine)
        else:
            _limit_statements(self.engine)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that changes nothing.

        Raises:
            Away: the database does not answer.
        """
        with _reported(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: all of it is kept, or nothing.

        Raises:
            Away: the database does not answer, or takes nothing.
        """
        with _reported(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.connection(execution_options={"writes": True})
            yield session

    def migrate(self) -> None:
        """Bring the schema up to date; several may do so at once."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with (
            _reported(),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            if not self.is_sqlite:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(7420001)"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def lock(session: Session, *names: str) -> None:
    """Let nobody else into what has these names until the transaction ends, though it may have no row.

    SQLite has one writer at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        digest = hashlib.sha256("\n".join(names).encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        session.execute(select(func.pg_advisory_xact_lock(key)))


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Away("too many requests wait for the records; try again") from error
    except (OperationalError, InterfaceError, InternalError) as error:
        raise Away(f"the records cannot be reached or written: {type(error.orig).__name__}") from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise Away("the records cannot be reached: the connection was lost") from error


def _limits(url: URL) -> dict[str, Any]:
    """What psycopg is told beside the URL, whose own options win."""
    limits = {"connect_timeout": CONNECT_S, **ALIVE}
    return {name: value for name, value in limits.items() if name not in url.query}


def _limit_statements(engine: Engine) -> None:
    """By a statement: a pooler such as PgBouncer refuses it as a parameter of the connection."""
    if "statement_timeout" in str(engine.url.query.get("options", "")):
        return

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
        connection.commit()


def _prepare_sqlite(engine: Engine) -> None:
    """Readers beside one writer, and nothing lost in a power cut."""

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to be IMMEDIATE
        for pragma in (f"busy_timeout={BUSY_MS}", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        _use_wal(connection)

    @event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Several may change a new file to WAL at once; SQLite lets none of them wait for the other."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
