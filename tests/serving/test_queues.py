"""The scheduler's bookkeeping without its threads: whatever comes in whatever order."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.predictors.photos import Request
from serving.predictors.queues import Queues

THREADS, LANES = 3, 2
NEXT = {"decode": "infer", "infer": "interpret"}


@dataclass(eq=False)
class Model:
    name: str
    lanes: int
    max_batch: int
    max_decode: int = 1


class Bookkeeping(RuleBasedStateMachine):
    """Threads and lanes that take, finish and fail in any order, clients that come and go."""

    def __init__(self):
        super().__init__()
        self.queues = Queues(THREADS)
        self.models = [
            Model(name="cpu", lanes=THREADS, max_batch=1),
            Model(name="one stream", lanes=1, max_batch=1),
            Model(name="gpu", lanes=LANES, max_batch=4, max_decode=4),
        ]
        self.requests, self.in_pool, self.in_lanes = [], [], []
        self.next_stage = {}  # of each photo that is here

    @rule(model=st.integers(0, 2), photos=st.integers(1, 9))
    def come(self, model, photos):
        request = Request(self.models[model], [b"photo"] * photos, [None] * photos, now=0.0)
        self.next_stage.update(dict.fromkeys(request.waiting, "decode"))
        self.requests.append(request)
        self.queues.add(request)

    @rule()
    def pool_takes(self):
        if len(self.in_pool) < THREADS:
            task = self.queues.take()
            self._check(task)
            if task is None:
                self._check_that_nothing_could_be_done()
            self.in_pool += [task] if task else []

    @rule()
    def lane_takes(self):
        if len(self.in_lanes) < LANES:
            task = self.queues.take_batch()
            self._check(task)
            assert task is None or (task.stage == "infer" and task.model.name == "gpu")
            self.in_lanes += [task] if task else []

    def _check(self, task):
        if task is None:
            return
        most = {"decode": task.model.max_decode, "infer": task.model.max_batch, "interpret": 1}
        assert 1 <= len(task.photos) <= most[task.stage]
        for photo in task.photos:
            assert photo.request.model is task.model
            assert not photo.request.over
            assert self.next_stage[photo] == task.stage
            self.next_stage[photo] = f"in {task.stage}"
        inferring = [other for other in self.in_pool if other.stage == "infer"]
        if task.stage == "infer" and task.model.max_batch == 1:
            assert not any(other.alone for other in inferring)
            assert len(inferring) < task.model.lanes
        for_the_model = [stage for stage in self.next_stage.values() if "interpret" not in stage]
        assert task.alone == (task.stage == "infer" and len(for_the_model) == len(task.photos))

    def _check_that_nothing_could_be_done(self):
        waiting = {
            stage: [photo.request.model for photo, at in self.next_stage.items() if at == stage]
            for stage in ("decode", "infer", "interpret")
        }
        inferring = [task for task in self.in_pool if task.stage == "infer"]
        assert not waiting["interpret"]
        if fewest := [model.lanes for model in waiting["infer"] if model.max_batch == 1]:
            assert len(inferring) >= min(fewest) or inferring[0].alone
        if waiting["decode"]:
            assert self.queues.unpacked > THREADS

    @rule(failing=st.sampled_from([0, 0, 0, 1, 4]), number=st.integers(0, 9), lane=st.booleans())
    def finish(self, failing, number, lane):
        """The first photos of a task fail, as many as `failing`."""
        running = self.in_lanes if lane else self.in_pool
        if not running:
            return
        task = running.pop(number % len(running))
        for photo in task.photos[:failing]:
            photo.failure = ValueError("no photo")
        gone = self.queues.finish(task, now=1.0)
        for photo in task.photos:
            if photo.failure or photo.request.over or task.stage == "interpret":
                del self.next_stage[photo]
                gone -= 1
            else:
                self.next_stage[photo] = NEXT[task.stage]
        assert gone == 0
        for photo in task.photos:
            if photo.failure and not photo.request.over:
                self._drop(photo.request)

    @rule(number=st.integers(0, 99))
    def leave(self, number):
        here = [request for request in self.requests if not request.over]
        if here:
            self._drop(here[number % len(here)])

    def _drop(self, request):
        mine = {photo: stage for photo, stage in self.next_stage.items() if photo.request is request}
        waiting = [photo for photo, stage in mine.items() if stage == "decode"]
        unpacked = [photo for photo, stage in mine.items() if stage in ("infer", "interpret")]
        assert self.queues.drop(request) == (len(waiting), len(unpacked))
        for photo in waiting + unpacked:
            del self.next_stage[photo]

    @invariant()
    def counts_are_right(self):
        stages = Counter(self.next_stage.values())
        assert self.queues.present == len(self.next_stage)
        assert self.queues.unpacked == len(self.next_stage) - stages["decode"]
        assert self.queues.waits == any(stages[stage] for stage in ("decode", "infer", "interpret"))

    @invariant()
    def few_photos_are_unpacked(self):
        unpacked = Counter(
            photo.request.model.name for photo, stage in self.next_stage.items() if stage != "decode"
        )
        assert unpacked["cpu"] + unpacked["one stream"] <= THREADS + 1
        assert unpacked.total() <= max(THREADS + 1, 2 * LANES * 4)

    def teardown(self):
        """Where nobody leaves any more, all that is here gets its report."""
        while self.in_pool or self.in_lanes or self.next_stage:
            before = len(self.next_stage), Counter(self.next_stage.values())
            while self.in_pool or self.in_lanes:
                self.finish(failing=0, number=0, lane=bool(self.in_lanes))
            self.pool_takes()
            self.lane_takes()
            assert before != (len(self.next_stage), Counter(self.next_stage.values()))


TestBookkeeping = Bookkeeping.TestCase
TestBookkeeping.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
