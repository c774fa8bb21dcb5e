"""The scheduler: one for each process, shared by all its models, by REST and by gRPC.

It waits for nothing but work: no timer, no target size. On a CPU a pool of as many threads as cores does all
three stages; one photo alone gets all cores for its inference, several share them. Where a device of its own
runs the models (`max_batch` over 1), the pool decodes and interprets, and as many lanes as the device likes
take what waits of one model whenever they are free. Which photo is next: see `queues`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from serving.predictors import metrics, tracing
from serving.predictors.errors import NotReady
from serving.predictors.photos import Request, StagedModel, Task
from serving.predictors.queues import Queues
from serving.predictors.stages import run
from stocktake.images import EncodedPhoto


class PhotoFailed(Exception):
    """A photo of a request has no report; `__cause__` says why.

    Attributes:
        number: which one, from 0.
    """

    def __init__(self, number: int):
        super().__init__(f"photo {number} failed")
        self.number = number


class Scheduler:
    """Runs the stages of photos in threads of its own.

    Attributes:
        threads: of the pool, one for each core.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self._queues = Queues(threads)
        self._lock = threading.Lock()
        self._pool_wakes = threading.Condition(self._lock)
        self._lanes_wake = threading.Condition(self._lock)
        self._waiters: dict[Request, asyncio.Future[list[Any]]] = {}
        self._closed = False
        self._lanes: list[threading.Thread] = []
        self._pool = [self._start(f"photos-{n}", self._pool_wakes, self._queues.take) for n in range(threads)]

    async def run(
        self, model: StagedModel, photos: Sequence[EncodedPhoto], quantities: Sequence[int | None]
    ) -> list[Any]:
        """The reports of the photos of one request, one or more, in their order.

        Who awaits them may be cancelled: what waits of the request is then forgotten at once, and what runs
        is finished and thrown away. The same happens to the other photos when one fails.

        Args:
            model: looks at the photos.
            photos: encoded.
            quantities: what was recorded for each, None where nothing was.

        Raises:
            PhotoFailed: a stage raised for one of them.
            NotReady: the scheduler is closed.
        """
        request = Request(model, photos, quantities, time.perf_counter(), tracing.current())
        waiter: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise NotReady("the server is about to end; ask another one")
            self._start_lanes(model)
            self._waiters[request] = waiter
            self._queues.add(request)
            metrics.count_photos(model.name, waiting=len(photos))
            self._pool_wakes.notify()
        try:
            return await waiter
        finally:
            self._give_up(request)
            del waiter  # it holds the error, which holds this frame: nothing of it would be freed for long

    def close(self) -> None:
        """Take no more requests, finish those that there are, end the threads. Blocks until then."""
        with self._lock:
            self._closed = True
            self._wake_all()
        for thread in self._pool + self._lanes:
            thread.join()

    def _start(
        self, name: str, wakes: threading.Condition, take: Callable[[], Task | None]
    ) -> threading.Thread:
        thread = threading.Thread(target=self._work, args=(wakes, take), name=name, daemon=True)
        thread.start()
        return thread

    def _start_lanes(self, model: StagedModel) -> None:
        while model.max_batch > 1 and len(self._lanes) < model.lanes:
            name = f"lane-{len(self._lanes)}"
            self._lanes.append(self._start(name, self._lanes_wake, self._queues.take_batch))

    def _work(self, wakes: threading.Condition, take: Callable[[], Task | None]) -> None:
        while (task := self._next(wakes, take)) is not None:
            run(task)
            self._finish(task)
            del task  # or the last photo stays unpacked while its thread waits

    def _next(self, wakes: threading.Condition, take: Callable[[], Task | None]) -> Task | None:
        """Wait for something to do; None once there will be nothing any more."""
        with self._lock:
            while (task := take()) is None:
                if self._closed and not self._queues.present:
                    self._wake_all()
                    return None
                wakes.wait()
            if self._queues.waits:  # each who finds work wakes the next one: nobody has to count
                wakes.notify()
            now = time.perf_counter()
            for photo in task.photos:
                photo.waited += now - photo.since
            if task.stage == "decode":
                taken = len(task.photos)
                metrics.count_photos(task.model.name, waiting=-taken, working=taken)
            return task

    def _finish(self, task: Task) -> None:
        ended = []
        with self._lock:
            gone = self._queues.finish(task, time.perf_counter())
            metrics.count_photos(task.model.name, working=-gone)
            for photo in task.photos:
                request = photo.request
                failure, photo.failure = photo.failure, None  # it holds the frame that holds the photo
                if request.over:
                    continue
                request.left -= task.stage == "interpret"
                if failure is not None or not request.left:
                    ended.append((self._end(request), request.reports, photo.number, failure))
            # This thread looks for work itself: only those of the other kind must be told.
            in_lane = task.stage == "infer" and task.model.max_batch > 1
            (self._pool_wakes if in_lane else self._lanes_wake).notify()
        for waiter, reports, number, failure in ended:
            with suppress(RuntimeError):  # the loop has ended, and with it all who waited
                waiter.get_loop().call_soon_threadsafe(_settle, waiter, reports, number, failure)

    def _give_up(self, request: Request) -> None:
        with self._lock:
            if not request.over:
                self._end(request)
                self._wake_all()  # there may be room for other photos now, or nothing left to wait for

    def _end(self, request: Request) -> asyncio.Future[list[Any]]:
        waiting, unpacked = self._queues.drop(request)
        metrics.count_photos(request.model.name, waiting=-waiting, working=-unpacked)
        return self._waiters.pop(request)

    def _wake_all(self) -> None:
        self._pool_wakes.notify_all()
        self._lanes_wake.notify_all()


def _settle(
    waiter: asyncio.Future[list[Any]], reports: list[Any], number: int, error: Exception | None
) -> None:
    if waiter.done():  # given up meanwhile
        return
    if error is None:
        waiter.set_result(reports)
    else:
        failure = PhotoFailed(number)
        failure.__cause__ = error
        waiter.set_exception(failure)
