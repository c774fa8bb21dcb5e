"""Keeps the trials of a search running: one process per slot, a new one where a trial has failed."""

import contextlib
import logging
import math
import os
import shutil
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from optuna.trial import Trial
from tqdm import tqdm

from stocktake import tracking
from stocktake.errors import SettingsError, StoreError
from stocktake.mlflow_server import tracking_uri
from stocktake.setting_checks import split_devices
from stocktake.tuning.search_space import SearchSpace
from stocktake.tuning.study import TrialRow, TrialStudy
from stocktake.tuning.trial_process import Begun, Ended, Epoch, Order, TrialProcess

log = logging.getLogger(__name__)

HOPELESS_AFTER = 3  # failed trials while none has trained


@dataclass(slots=True)
class Slot:
    """A place where trials run, one at a time."""

    cores: list[int]
    device: str
    process: TrialProcess | None = None
    trial: Trial | None = None

    def stop(self) -> None:
        """End the process, if there is one."""
        if self.process:
            self.process.stop()
        self.process = self.trial = None


def make_slots(workers: int, device: str) -> list[Slot]:
    """Share the cores of this process out, and the devices where they are a list."""
    cores = sorted(os.sched_getaffinity(0))
    devices = split_devices(device) if workers > 1 else [device]
    return [
        Slot(cores[place::workers] or [cores[place % len(cores)]], devices[place % len(devices)])
        for place in range(workers)
    ]


@dataclass(frozen=True, slots=True)
class TrialRunner:
    """Runs the trials that a study asks for, and tells it what comes out."""

    study: TrialStudy
    space: SearchSpace
    index_path: Path
    out_dir: Path
    parent_run: str  # of MLflow
    failed: list[TrialRow] = field(default_factory=list)  # in this process

    @property
    def work_dir(self) -> Path:
        """Folder of the trials' checkpoints."""
        return self.out_dir / "trials"

    def run(self, trials: int, slots: list[Slot]) -> None:
        """Run until there are `trials` of them.

        Raises:
            SettingsError: the first trials have all failed, one with the smallest batch among them.
            StoreError: the disk is full, or a store can't be read.
        """
        initial = self._ended()
        try:
            with tqdm(desc="trials", total=trials, initial=initial, unit="trial", disable=None) as bar:
                while True:
                    self._fill(slots, trials)
                    bar.n = self._ended()
                    bar.set_postfix_str(self._standing(slots))
                    busy = {slot.process.connection: slot for slot in slots if slot.process and slot.trial}
                    if not busy:
                        return
                    for connection in wait(list(busy)):
                        assert isinstance(connection, Connection)
                        self._listen(busy[connection])
        finally:
            for slot in slots:
                slot.stop()

    def _fill(self, slots: list[Slot], trials: int) -> None:
        for slot in slots:
            while slot.trial is None and self._may_begin(slots, trials):
                trial = self.study.next(trials)
                if trial is None:
                    break
                try:
                    order = self._order(trial, slot)
                except SettingsError as error:
                    self._fail(trial, Ended(reason=str(error)))
                    continue
                slot.process = slot.process or TrialProcess(self.out_dir, slot.cores)
                slot.trial = trial
                with contextlib.suppress(OSError):  # it has died since its last trial; `_listen` finds out
                    slot.process.send(order)

    def _may_begin(self, slots: list[Slot], trials: int) -> bool:
        """Whether another trial is worth beginning: not while all have failed but those that still run.

        When they have failed too, the next one has the smallest batch, which memory is most likely to hold.
        """
        rows = self.study.rows()
        trained = any(row.curve and row.state != "failed" for row in rows)
        if len(self.failed) < HOPELESS_AFTER or trained or any(row.state == "waiting" for row in rows):
            return True
        if any(slot.trial for slot in slots):
            return False
        if len(rows) < trials and self.study.queue_smallest("batch_size", self.failed):
            return True
        raise SettingsError(
            f"the first {len(self.failed)} trials have all failed, the last one so: {self.failed[-1].reason}."
            f" Their logs are in {self.out_dir / 'logs'}"
        )

    def _order(self, trial: Trial, slot: Slot) -> Order:
        row = self.study.row(trial.number)
        return Order(
            settings=self.space.settings(
                trial.params, name=row.folder, device=slot.device, project=str(self.work_dir)
            ),
            metric=self.space.metric,
            index_path=self.index_path,
            work_dir=self.work_dir,
            log_path=self.out_dir / "logs" / f"{row.folder}.log",
            tracking_uri=tracking_uri(),
            parent_run=self.parent_run,
            run_id=row.run_id or None,
        )

    def _listen(self, slot: Slot) -> None:
        """Take one message of a slot's process."""
        assert slot.process
        assert slot.trial
        message = slot.process.receive()
        if isinstance(message, Begun):
            self.study.note_run(slot.trial, message.run_id)
        elif isinstance(message, Epoch):
            stop = self.study.report(slot.trial, message.number, message.value)
            with contextlib.suppress(OSError):  # it has died meanwhile
                slot.process.send(stop)
        else:
            trial, slot.trial = slot.trial, None
            if message.spent:
                slot.stop()
            self._end(trial, message)

    def _end(self, trial: Trial, ended: Ended) -> None:
        if ended.reason:
            self._fail(trial, ended)
        elif ended.value is None:
            self.study.prune(trial)
        elif not math.isfinite(ended.value):
            reason = f"{self.space.metric} is {ended.value}, which is no value to compare"
            self._fail(trial, Ended(reason=reason))
        else:
            self.study.complete(trial, ended.value)
        best = self.study.best
        if best and best.value is not None:
            tracking.log_metrics({f"best/{self.space.metric}": best.value}, trial.number)
        self._drop_checkpoints(best.folder if best else "")

    def _fail(self, trial: Trial, ended: Ended) -> None:
        self.study.fail(trial, ended.reason)
        if ended.died and (run_id := self.study.row(trial.number).run_id):
            tracking.fail_run(run_id, ended.reason)
        log.warning("trial %d failed: %s", trial.number, ended.reason)
        if ended.hopeless:
            raise StoreError(ended.reason)
        self.failed.append(self.study.row(trial.number))

    def _drop_checkpoints(self, best: str) -> None:
        """Keep those of the best trial, which may be the refit, and of what runs."""
        for row in self.study.rows():
            if row.state in ("complete", "pruned", "failed") and row.folder != best:
                shutil.rmtree(self.work_dir / row.folder, ignore_errors=True)

    def _ended(self) -> int:
        return sum(row.state not in ("running", "waiting") for row in self.study.rows())

    def _standing(self, slots: list[Slot]) -> str:
        best = self.study.best
        parts = [] if best is None else [f"best {best.value:.3f} (trial {best.number})"]
        for slot in slots:
            if slot.trial:
                epochs = max(self.study.row(slot.trial.number).curve, default=0)
                parts.append(f"trial {slot.trial.number} at epoch {epochs}")
        return ", ".join(parts)
