"""Make MLflow's tables, or bring them up to date; one pod at a time, and never a database in use unasked.

Migrations cannot always be undone, so a database that holds runs stops a newer MLflow here until the release
says `mlflow.database.upgrade`, which is when somebody took a backup. MLflow's own check lets a migration
through wherever the newer schema has a table more.
"""

import importlib.util
import os
import subprocess
import sys

import psycopg2
from alembic.config import Config
from alembic.script import ScriptDirectory

LOCK = 7266  # any number, the same in all pods


def main() -> int:
    """Returns 0 when the database is as this MLflow wants it."""
    uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
    try:
        connection = psycopg2.connect(uri.replace("postgresql+psycopg2:", "postgresql:"))
    except psycopg2.OperationalError as error:
        return _refuse(f"no database at {uri}: {str(error).strip()}")
    connection.autocommit = True  # a lock of the session, which ends with it
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(%s)", (LOCK,))
        found, wanted = _first(cursor, "alembic_version", "version_num"), _wanted()
        if found == wanted:
            print(f"the database is at revision {wanted}, as it should be")
            return 0
        if _first(cursor, "runs", "run_uuid") and os.environ["UPGRADE"] != "true":
            return _refuse(
                f"the database holds runs and is at revision {found}; this MLflow wants {wanted}. "
                "Take a backup, then: helm upgrade … --set mlflow.database.upgrade=true"
            )
        return subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", uri], check=False).returncode


def _first(cursor: "psycopg2.extensions.cursor", table: str, column: str) -> str | None:
    cursor.execute("select to_regclass(%s) is not null", (table,))
    if not cursor.fetchone()[0]:
        return None
    cursor.execute(f"select {column} from {table} limit 1")
    row = cursor.fetchone()
    return row and row[0]


def _wanted() -> str | None:
    """The last revision of the MLflow that is installed."""
    config = Config()
    package = importlib.util.find_spec("mlflow").submodule_search_locations[0]
    config.set_main_option("script_location", f"{package}/store/db_migrations")
    return ScriptDirectory.from_config(config).get_current_head()


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
