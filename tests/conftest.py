import pytest

from stocktake.devices import let_threads_sleep

let_threads_sleep()  # before any test imports torch: on a busy machine spinning threads cost five times


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A SQLite file with MLflow's tables; making them takes seconds, copying them nothing."""
    from stocktake.mlflow_server import configure

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        configure(f"sqlite:///{path}")
    return path
