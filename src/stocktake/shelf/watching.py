"""Lets the training rules watch an ultralytics trainer. Importing this module imports no ultralytics."""

import logging
from pathlib import Path
from typing import Any

from stocktake.monitoring.monitor import StopTraining, TrainingMonitor
from stocktake.monitoring.run_files import RECORDING_FILE

log = logging.getLogger(__name__)


def watch(trainer: Any, monitor: TrainingMonitor) -> None:
    """Hand a trainer's life to a monitor; `ShelfTrainer.optimizer_step` hands it the steps."""
    trainer.monitor = monitor
    trainer.add_callback("on_train_start", _start)
    trainer.add_callback("on_train_batch_start", lambda _: monitor.mark("data wait"))
    trainer.add_callback("on_train_batch_end", _end_batch)


def _end_batch(trainer: Any) -> None:
    """After backward, where gradients add up over several batches; else after the optimizer's step."""
    trainer.monitor.mark("other" if trainer.steps_done > trainer.steps_marked else "backward")
    trainer.steps_marked = trainer.steps_done


def end_epoch(trainer: Any, metrics: dict[str, float]) -> None:
    """Show the rules an epoch; one that was asked to ends the training, which keeps what it has learnt."""
    try:
        trainer.monitor.epoch(trainer.epoch + 1, metrics)
    except StopTraining as stop:
        trainer.stop = True
        log.info("stopped after epoch %d: %s", trainer.epoch + 1, stop)


def _start(trainer: Any) -> None:
    monitor: TrainingMonitor = trainer.monitor
    monitor.keep_in(Path(trainer.save_dir) / RECORDING_FILE, trainer.start_epoch)
    trainer.steps_done = trainer.steps_marked = len(monitor.recording.steps.step)
    monitor.start(trainer.model, trainer.optimizer, trainer.train_loader.num_workers)
