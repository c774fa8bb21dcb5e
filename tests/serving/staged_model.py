"""A model whose stages a test can hold up, watch and let fail."""

import asyncio
import threading
from contextlib import contextmanager

import numpy as np
from prometheus_client import REGISTRY

from serving.predictors.batching import Scheduler
from stocktake.images import DecodedPhoto, ReducedPhoto
from stocktake.letterbox import Letterbox

PATIENCE_S = 60  # only a broken scheduler takes that long
BAD = b"bad"  # photos that begin with it can't be decoded


class StagedModel:
    """Its report of a photo is (name of the model, the photo's bytes, its quantity).

    Attributes:
        log: (stage, photo's bytes) of each stage of each photo, in the order in which they began.
        calls: of infer: the photos, and whether it was alone.
        most_unpacked: photos that were between decode and answer at the same time, at most; wrong after
            somebody was cancelled or failed.
    """

    def __init__(self, name="staged", lanes=2, max_batch=1, max_decode=1):
        self.name, self.lanes, self.max_batch, self.max_decode = name, lanes, max_batch, max_decode
        self.log, self.calls = [], []
        self.running = dict.fromkeys(("decode", "infer", "interpret"), 0)
        self.unpacked = self.most_unpacked = 0
        self.fails, self.fails_from = None, 1  # what infer raises, and for how many photos at least
        self._held = set()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, stage):
        """Whatever comes to this stage stays in it until the block is left."""
        with self._changed:
            self._held.add(stage)
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(stage)
                self._changed.notify_all()

    async def until(self, reached):
        """Wait until `reached(self)` is true."""

        def wait():
            with self._changed:
                assert self._changed.wait_for(lambda: reached(self), PATIENCE_S), self.log

        await asyncio.to_thread(wait)

    def begun(self, stage):
        return [photo for what, photo in self.log if what == stage]

    def decode(self, photos):
        with self._in("decode", photos):
            with self._changed:
                self.unpacked += len(photos)
                self.most_unpacked = max(self.most_unpacked, self.unpacked)
            return [ValueError(data) if data.startswith(BAD) else self._decoded(data) for data in photos]

    @staticmethod
    def _decoded(data):
        pixels = np.zeros(48, np.uint8)
        pixels[: len(data)] = np.frombuffer(data, np.uint8)
        square = pixels.reshape(4, 4, 3)
        return DecodedPhoto(ReducedPhoto.of(square), Letterbox(square, 1.0, 1.0, 0, 0))

    def infer(self, batch, alone):
        photos = [bytes(tensor).rstrip(b"\0") for tensor in batch]
        with self._in("infer", photos):
            with self._changed:
                self.calls.append((photos, alone))
            if self.fails and len(batch) >= self.fails_from:
                raise self.fails
            return [photo.decode() for photo in photos]

    def interpret(self, answer, decoded, quantity):
        photo = bytes(decoded.tensor).rstrip(b"\0")
        with self._in("interpret", [photo]):
            with self._changed:
                self.unpacked -= 1
            assert answer == photo.decode()
            return self.name, photo, quantity

    def report(self, photo, quantity=None):
        return self.name, photo, quantity

    @contextmanager
    def _in(self, stage, photos):
        with self._changed:
            self.log += [(stage, photo) for photo in photos]
            self.running[stage] += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: stage not in self._held, PATIENCE_S)
        try:
            yield
        finally:
            with self._changed:
                self.running[stage] -= 1
                self._changed.notify_all()


@contextmanager
def scheduling(threads=2):
    """A scheduler that is closed in the end, which waits for all that it has begun."""
    scheduler = Scheduler(threads)
    try:
        yield scheduler
    finally:
        scheduler.close()


def ask(scheduler, model, *photos, quantities=None):
    """A request, as a task."""
    return asyncio.create_task(scheduler.run(model, photos, quantities or [None] * len(photos)))


def load(name):
    """Photos that wait and that are worked on, as Prometheus sees them."""
    values = [
        REGISTRY.get_sample_value(f"stocktake_photos_{what}", {"model": name})
        for what in ("waiting", "working")
    ]
    return tuple(int(value or 0) for value in values)


def names(prefix, count):
    return [b"%s%d" % (prefix, number) for number in range(count)]
