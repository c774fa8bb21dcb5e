"""What Prometheus can scrape from a worker."""

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from serving.gateway.drift import CameraDrift
from serving.gateway.metrics import BUCKETS_S
from serving.gateway.records.tables import Task

MOST_DRIFTS = 500


class WorkerMetrics:
    """Of one worker, beside those of its process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.photos = Counter(
            "stocktake_worker_photos",
            "Photos taken out of the queue: answered (given up ones are), or tried again later",
            ["outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "stocktake_worker_photo_seconds",
            "From taking a photo to its answer in the records",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "stocktake_worker_photos_in_flight", "Photos at work in this worker", registry=self.registry
        )
        self.waiting = Gauge(
            "stocktake_queue_photos", "Photos put and not answered, of all workers", registry=self.registry
        )
        self.reconciled = Counter(
            "stocktake_queue_photos_lost", "Photos that the queue had lost, put again", registry=self.registry
        )
        self.webhooks = Counter(
            "stocktake_webhooks", "Calls of webhooks", ["outcome"], registry=self.registry
        )
        self.drift = Gauge(
            "stocktake_drift_psi",
            "PSI of a camera's photos and answers against those of the model's making",
            ["task", "store", "camera", "measure"],
            registry=self.registry,
        )
        self.drifted = Gauge(
            "stocktake_drifted_cameras",
            "Cameras that have drifted far, more than by chance",
            ["task"],
            registry=self.registry,
        )

    def show_drift(self, drifts: Sequence[CameraDrift]) -> None:
        """Say how far cameras have drifted, the farthest first, and only those: names are many."""
        self.drift.clear()
        for each in drifts[:MOST_DRIFTS]:
            self.drift.labels(each.task.value, each.store, each.camera, each.measure).set(each.drift.psi)
        for task in Task:
            far = {(each.store, each.camera) for each in drifts if each.task == task and each.drift.is_large}
            self.drifted.labels(task.value).set(len(far))
