"""Which photo is next: the bookkeeping of the scheduler, without its threads.

A photo goes through three stages:

    decode      by the pool, one photo at a time unless a device decodes them
    infer       by the pool where the model takes one photo at a time, by the lanes where it takes batches
    interpret   by the pool

What is nearest to its answer goes first, so that few photos are unpacked at a time. Those that wait to be
decoded are taken in turn: one of each model, and within a model one of each request. So neither another model
nor a request of many photos keeps a single photo waiting for long.
"""

from collections import Counter, OrderedDict, deque
from typing import Any, Literal

from serving.predictors.photos import Photo, Request, Stage, StagedModel, Task

NEXT: dict[Stage, Stage] = {"decode": "infer", "infer": "interpret"}


class Queues:
    """All photos of the process, from their arrival to their report, even if that is thrown away.

    Whoever calls holds the lock.
    """

    def __init__(self, threads: int):
        self._threads = threads
        self._waiting: OrderedDict[StagedModel, OrderedDict[Request, deque[Photo]]] = OrderedDict()
        self._decoded: OrderedDict[StagedModel, deque[Photo]] = OrderedDict()  # for the pool
        self._batches: OrderedDict[StagedModel, deque[Photo]] = OrderedDict()  # for the lanes
        self._answered: deque[Photo] = deque()
        self._running = 0  # calls of infer by the pool
        self._alone = False  # one of them has all cores
        # Those that nobody has begun with, that are being decoded, that wait for a later stage or are in it.
        self._photos: Counter[Literal["new"] | Stage] = Counter()

    @property
    def present(self) -> int:
        """All photos."""
        return self._photos.total()

    @property
    def unpacked(self) -> int:
        """Those that are being decoded, or are decoded."""
        return self.present - self._photos["new"]

    @property
    def waits(self) -> bool:
        """Whether anything waits for its next stage."""
        return bool(self._answered or self._decoded or self._batches or self._waiting)

    def add(self, request: Request) -> None:
        """Let a request of one photo or more wait."""
        self._waiting.setdefault(request.model, OrderedDict())[request] = request.waiting
        self._photos["new"] += request.left

    def take(self) -> Task | None:
        """What a thread of the pool does next, None if there is nothing that it may do."""
        if self._answered:
            photo = self._answered.popleft()
            return Task("interpret", photo.request.model, [photo])
        # Only the model whose turn it is may go on: were it passed over while it may not, it could starve.
        model = next(iter(self._decoded), None)
        if model is not None and not self._alone and self._running < model.lanes:
            self._running += 1
            self._alone = self._is_last()
            return Task("infer", model, self._take_decoded(self._decoded, model), self._alone)
        model = next(iter(self._waiting), None)
        if model is not None and (room := self._most_unpacked(model) - self.unpacked) > 0:
            photos = self._take_waiting(model, min(room, model.max_decode))
            self._photos["new"] -= len(photos)
            self._photos["decode"] += len(photos)
            return Task("decode", model, photos)
        return None

    def take_batch(self) -> Task | None:
        """What a lane does next: photos of the model whose turn it is, as many as wait and fit."""
        model = next(iter(self._batches), None)
        if model is None:
            return None
        photos = self._take_decoded(self._batches, model)
        return Task("infer", model, photos, alone=self._is_last(len(photos)))

    def finish(self, task: Task, now: float) -> int:
        """Let the photos of a task wait for their next stage. Returns how many have none and are gone."""
        if task.stage == "infer" and task.model.max_batch == 1:
            self._running -= 1
            self._alone = False
        before = self.present
        self._photos[task.stage] -= len(task.photos)
        for photo in task.photos:
            photo.since = now
            if photo.failure or task.stage == "interpret" or photo.request.over:
                continue
            self._photos[NEXT[task.stage]] += 1
            if task.stage == "infer":
                self._answered.append(photo)
            else:
                queues = self._decoded if task.model.max_batch == 1 else self._batches
                queues.setdefault(task.model, deque()).append(photo)
        return before - self.present

    def drop(self, request: Request) -> tuple[int, int]:
        """Forget a request. Returns how many of its photos waited to be decoded, and after that."""
        request.over = True
        waiting = len(request.waiting)
        if waiting:
            request.waiting.clear()
            requests = self._waiting[request.model]
            del requests[request]
            if not requests:
                del self._waiting[request.model]
        decoded = 0
        for queues in (self._decoded, self._batches):
            if request.model in queues:
                decoded += _remove(queues[request.model], request)
                if not queues[request.model]:
                    del queues[request.model]
        answered = _remove(self._answered, request)
        self._photos.subtract({"new": waiting, "infer": decoded, "interpret": answered})
        return waiting, decoded + answered

    def _is_last(self, photos: int = 1) -> bool:
        """Whether no others than these are for the model: to interpret one takes a core, and not for long."""
        return self.present - self._photos["interpret"] == photos

    def _most_unpacked(self, model: StagedModel) -> int:
        """A decoded photo takes up to 240 MB, yet nobody who infers should have to wait for the next one."""
        return self._threads + 1 if model.max_batch == 1 else 2 * model.lanes * model.max_batch

    def _take_waiting(self, model: StagedModel, most: int) -> list[Photo]:
        requests = self._waiting[model]
        photos: list[Photo] = []
        while requests and len(photos) < most:
            request, waiting = next(iter(requests.items()))
            photos.append(waiting.popleft())
            _end_turn(requests, request)
        _end_turn(self._waiting, model)
        return photos

    @staticmethod
    def _take_decoded(queues: OrderedDict[StagedModel, deque[Photo]], model: StagedModel) -> list[Photo]:
        queue = queues[model]
        photos = [queue.popleft() for _ in range(min(model.max_batch, len(queue)))]
        _end_turn(queues, model)
        return photos


def _end_turn(turns: OrderedDict[Any, Any], key: Any) -> None:
    """Put a key behind all others, or out if nothing of it waits."""
    if turns[key]:
        turns.move_to_end(key)
    else:
        del turns[key]


def _remove(queue: deque[Photo], request: Request) -> int:
    kept = [photo for photo in queue if photo.request is not request]
    removed = len(queue) - len(kept)
    if removed:
        queue.clear()
        queue.extend(kept)
    return removed
