"""A training that other machines do: what they are told, and what comes back, lies in the store.

    trainings/<key>/   index.parquet  order.json   put by whoever wants the training
                       model/…  rules.html  result.json   put by the first node, result.json last

The key follows from photos, settings and code, so the same training is ordered once. Each node runs
`python -m stocktake.node_training KEY`.
"""

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from stocktake import tracking
from stocktake.bins.train_settings import LEAST_PER_DEVICE, BinTrainSettings
from stocktake.checkpoint_store import store_key
from stocktake.dataset import INDEX_FILE, DatasetIndex
from stocktake.launch import node_number
from stocktake.model_card import SUMS_FILE, Task, read_sums, verify_sums
from stocktake.monitoring.monitor_settings import MonitorSettings
from stocktake.monitoring.run_files import read_page
from stocktake.program import run_program
from stocktake.setting_checks import expect, expect_whole
from stocktake.settings import load_settings
from stocktake.shelf.train_settings import TrainSettings
from stocktake.storage import Store, Wanted, fetch_files, join_uri, open_store, put_files

log = logging.getLogger(__name__)

FOLDER = "trainings"
ORDER_FILE, RULES_FILE, RESULT_FILE, MODEL = "order.json", "rules.html", "result.json", "model"


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out: the digest of the model dir, its MLflow run, figures, and what the rules say."""

    digest: str
    run_id: str
    metrics: dict[str, float]
    rules: str  # a line for each
    rules_page: str  # HTML


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained, and how; `settings.device` is that of each node."""

    settings: BinTrainSettings | TrainSettings
    rules: MonitorSettings | None  # of the monitor that watches
    tags: Mapping[str, str]  # of the run of MLflow

    @property
    def task(self) -> Task:
        """The kind of model."""
        return "bin-counter" if isinstance(self.settings, BinTrainSettings) else "shelf-detector"

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps({"task": self.task, **asdict(self)}, indent=2)

    @classmethod
    def loads(cls, text: str | bytes) -> Self:
        """Read what `dumps` wrote."""
        known = json.loads(text)
        kind = BinTrainSettings if known["task"] == "bin-counter" else TrainSettings
        return cls(
            kind(**known["settings"]), known["rules"] and MonitorSettings(**known["rules"]), known["tags"]
        )

    def check_nodes(self, nodes: int) -> None:
        """Raise SettingsError unless so many nodes can do it together."""
        if isinstance(self.settings, TrainSettings):
            expect(nodes == 1, "nodes", nodes, "1: YOLOv5 trains on the GPUs of one machine")
            return
        expect_whole("nodes", nodes, 1, 1000)
        ranks, batch = nodes * len(self.settings.devices), self.settings.batch_size
        least = LEAST_PER_DEVICE * ranks
        wanted = f"a multiple of {ranks}, the devices of {nodes} nodes, and at least {least}"
        expect(batch % ranks == 0 and batch >= least, "batch_size", batch, wanted)


def place_order(index_path: Path, order: Order) -> str:
    """Put what the nodes need into the store; return the key of the training.

    Raises:
        DataError: the index can't be read.
        StoreError: the store can't be written.
    """
    order = replace(order, settings=replace(order.settings, name="train"))
    photos, rules = DatasetIndex.read(index_path).digest, order.rules and asdict(order.rules)
    key = store_key(FOLDER, {"task": order.task, **order.settings.identity, "rules": rules, "photos": photos})
    store = _open(key)
    store.put(INDEX_FILE, index_path)
    store.put(ORDER_FILE, order.dumps().encode())
    return key


def find_result(key: str, model_dir: Path) -> Trained | None:
    """Fetch the model dir of a training that has ended; None where it has not.

    Raises:
        StoreError: a file can't be fetched.
        ModelError: a file of the model dir is not what its checksum says.
    """
    store = _open(key)
    if not store.exists(RESULT_FILE):
        return None
    store.get_to(f"{MODEL}/{SUMS_FILE}", model_dir / SUMS_FILE)
    sums = read_sums(model_dir)
    fetch_files(store, [Wanted(f"{MODEL}/{name}", model_dir / name, sums[name]) for name in sums])
    verify_sums(model_dir)
    page = store.get(RULES_FILE).decode()
    return Trained(**json.loads(store.get(RESULT_FILE)), rules_page=page)


def be_node(key: str, work_dir: Path | None = None) -> None:
    """Do this node's part of a training; again after a restart, from the checkpoint in the store.

    The first node trains, exports and puts the result; the others lend their devices.

    Raises:
        SettingsError, DataError, StoreError, ModelError: as `train` does.
    """
    store = _open(key)
    if store.exists(RESULT_FILE):
        log.info("%s has been trained", key)
        return
    folder = (work_dir or load_settings().work_dir or Path("runs/nodes")) / key.rpartition("/")[2]
    index_path, model_dir = folder / INDEX_FILE, folder / MODEL
    store.get_to(INDEX_FILE, index_path)
    order = Order.loads(store.get(ORDER_FILE))
    if node_number() > 0:
        _help(index_path, order, folder)
        return
    done = train_here(index_path, model_dir, order, folder)
    names = [SUMS_FILE, *read_sums(model_dir)]
    put_files(store, [(f"{MODEL}/{name}", model_dir / name) for name in names])
    store.put(RULES_FILE, done.rules_page.encode())
    about = {"digest": done.digest, "run_id": done.run_id, "metrics": done.metrics, "rules": done.rules}
    store.put(RESULT_FILE, json.dumps(about).encode())


def train_here(index_path: Path, model_dir: Path, order: Order, work_dir: Path | None = None) -> Trained:
    """Train on this machine, in a run of MLflow.

    Raises:
        SettingsError, DataError, StoreError, ModelError: as `train` does.
    """
    train = _train_bins if order.task == "bin-counter" else _train_shelves
    with tracking.start_run("train", order.task, order.tags) as run_id:
        result, digest = train(index_path, model_dir, order.settings, work_dir, _monitor(order))
    return Trained(digest, run_id, result.metrics, result.rules, read_page(result.run_dir))


def _monitor(order: Order) -> Any:
    from stocktake.monitoring.monitor import TrainingMonitor

    return TrainingMonitor(order.rules) if order.rules else None


def _help(index_path: Path, order: Order, folder: Path) -> None:
    from stocktake.bins.training import help_train

    assert isinstance(order.settings, BinTrainSettings)
    help_train(index_path, order.settings, folder, _monitor(order))


def _train_bins(
    index_path: Path, model_dir: Path, settings: Any, work_dir: Path | None, monitor: Any
) -> tuple[Any, str]:
    from stocktake.bins.workflow import train_counter

    return train_counter(index_path, model_dir, settings, work_dir, monitor=monitor)


def _train_shelves(
    index_path: Path, model_dir: Path, settings: Any, work_dir: Path | None, monitor: Any
) -> tuple[Any, str]:
    from stocktake.shelf.workflow import train_detector

    return train_detector(index_path, model_dir, settings, work_dir, monitor)


def _open(key: str) -> Store:
    return open_store(join_uri(load_settings().store, key))


def main() -> int:
    """Be the node that the environment says; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    hint = "the next pod goes on from the checkpoint in the store"
    return run_program("training", lambda: be_node(sys.argv[1]), hint)


if __name__ == "__main__":
    sys.exit(main())
