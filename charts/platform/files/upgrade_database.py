"""Make MLflow's tables, or bring them up to date; one pod at a time, and never a database in use unasked.

Migrations cannot always be undone, so a database that holds runs is left alone until the release says
`mlflow.database.upgrade`, which is when somebody took a backup. MLflow itself refuses a schema of
another version.
"""

import os
import subprocess
import sys

import psycopg2

LOCK = 7266  # any number, the same in all pods


def main() -> int:
    """Returns the exit status of `mlflow db upgrade`, or 0 where there is nothing to do."""
    uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
    try:
        connection = psycopg2.connect(uri.replace("postgresql+psycopg2:", "postgresql:"))
    except psycopg2.OperationalError as error:
        return _refuse(f"no database at {uri}: {str(error).strip()}")
    connection.autocommit = True  # a lock of the session, which ends with it
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(%s)", (LOCK,))
        if _holds_runs(cursor) and os.environ["UPGRADE"] != "true":
            print("the database holds runs; it is left as it is")
            return 0
        return subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", uri], check=False).returncode


def _holds_runs(cursor: "psycopg2.extensions.cursor") -> bool:
    cursor.execute("select to_regclass('runs') is not null")
    if not cursor.fetchone()[0]:
        return False
    cursor.execute("select exists(select 1 from runs)")
    return bool(cursor.fetchone()[0])


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
