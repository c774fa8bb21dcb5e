"""The scheduler with real threads, and models whose stages wait for the test: what is looked at when."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.predictors.batching import PhotoFailed
from tests.serving.staged_model import BAD, StagedModel, ask, load, names, scheduling

pytestmark = pytest.mark.filterwarnings("error")


def test_reports_come_in_the_order_of_the_photos():
    async def main(scheduler, model):
        photos = names(b"p", 64)
        reports = await ask(scheduler, model, *photos, quantities=range(64))
        assert reports == [model.report(photo, number) for number, photo in enumerate(photos)]

    with scheduling(3) as scheduler:
        asyncio.run(main(scheduler, StagedModel(lanes=3)))


def test_one_photo_has_all_cores_and_several_share_them():
    async def main(scheduler, model):
        await ask(scheduler, model, b"first")
        await ask(scheduler, model, b"second")
        with model.hold("decode"):
            pair = ask(scheduler, model, b"third", b"fourth")
            await model.until(lambda model: model.running["decode"] == 2)
        await pair

    model = StagedModel()
    with scheduling() as scheduler:
        asyncio.run(main(scheduler, model))
    assert model.calls[:2] == [([b"first"], True), ([b"second"], True)]
    assert model.calls[2][1] is False  # the last one may be alone again


def test_nothing_runs_beside_a_photo_that_is_alone_and_all_lanes_are_busy_after_it():
    async def main(scheduler, model):
        with model.hold("infer"):
            first = ask(scheduler, model, b"first")
            await model.until(lambda model: model.running["infer"] == 1)
            others = [ask(scheduler, model, photo) for photo in names(b"p", 9)]
            # the other thread goes on decoding, as far as photos may be unpacked
            await model.until(lambda model: len(model.begun("decode")) == 3)
            assert model.begun("infer") == [b"first"]
        await asyncio.gather(first, *others)
        assert model.calls[0] == ([b"first"], True)
        assert [alone for _, alone in model.calls[1:-1]] == [False] * 8

    model = StagedModel()
    with scheduling() as scheduler:
        asyncio.run(main(scheduler, model))
    assert model.most_unpacked == 3  # one for each thread, and the next


def test_as_many_photos_are_inferred_at_once_as_there_are_lanes():
    async def main(scheduler, model):
        with model.hold("infer"):
            with model.hold("decode"):
                tasks = [ask(scheduler, model, photo) for photo in names(b"p", 9)]
                await model.until(lambda model: model.running["decode"] == 3)
            await model.until(lambda model: model.running["infer"] == 3)
        await asyncio.gather(*tasks)

    with scheduling(3) as scheduler:
        asyncio.run(main(scheduler, StagedModel(lanes=3)))


def test_fewer_lanes_than_threads():
    """Where there is only one stream, over all cores, others are decoded beside it and not inferred."""

    async def main(scheduler, model):
        with model.hold("infer"):
            tasks = [ask(scheduler, model, photo) for photo in names(b"p", 9)]
            await model.until(lambda model: len(model.begun("decode")) == 4)
            assert model.running["infer"] == 1
        await asyncio.gather(*tasks)

    with scheduling(3) as scheduler:
        asyncio.run(main(scheduler, StagedModel(lanes=1)))


def test_what_is_begun_is_finished_first():
    async def main(scheduler, model):
        await asyncio.gather(*[ask(scheduler, model, photo) for photo in (b"a", b"b", b"c")])

    model = StagedModel()
    with scheduling(1) as scheduler:
        asyncio.run(main(scheduler, model))
    stages = ("decode", "infer", "interpret")
    assert model.log == [(stage, photo) for photo in (b"a", b"b", b"c") for stage in stages]


def queue_up(*requests):
    """The order in which one thread begins requests that all wait: (model, photos) each."""
    order = []

    async def main(scheduler):
        blocker = StagedModel("blocker")
        with blocker.hold("decode"):
            tasks = [ask(scheduler, blocker, b"blocker")]
            await blocker.until(lambda model: model.running["decode"] == 1)
            tasks += [ask(scheduler, model, *photos) for model, photos in requests]
            await asyncio.sleep(0)  # lets the tasks start, in this order
        await asyncio.gather(*tasks)

    for model in {model for model, _ in requests}:
        inner = model.decode
        model.decode = lambda photos, inner=inner: order.extend(photos) or inner(photos)
    with scheduling(1) as scheduler:
        asyncio.run(main(scheduler))
    return order


def test_models_take_turns():
    a, b = StagedModel("a"), StagedModel("b")
    requests = [(a, [photo]) for photo in names(b"a", 4)] + [(b, [photo]) for photo in names(b"b", 2)]
    assert queue_up(*requests) == [b"a0", b"b0", b"a1", b"b1", b"a2", b"a3"]


def test_requests_take_turns():
    model = StagedModel()
    order = queue_up((model, names(b"big", 4)), (model, [b"x"]), (model, names(b"pair", 2)), (model, [b"y"]))
    assert order == [b"big0", b"x", b"pair0", b"y", b"big1", b"pair1", b"big2", b"big3"]


def test_first_come_first_served():
    model = StagedModel()
    assert queue_up(*[(model, [photo]) for photo in names(b"p", 9)]) == names(b"p", 9)


def test_a_full_request_does_not_keep_others_waiting():
    async def main(scheduler, model):
        with model.hold("decode"):
            tasks = [ask(scheduler, model, *names(b"full", 64))]
            await model.until(lambda model: model.running["decode"] == 2)
            tasks += [ask(scheduler, model, b"single")]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    model = StagedModel()
    with scheduling() as scheduler:
        asyncio.run(main(scheduler, model))
    assert model.begun("decode").index(b"single") <= 4  # those that had begun, and one or two in its turn


async def _storm(scheduler, models, dice):
    """Requests of all sizes to all models, some bad, some given up; what each was answered with."""

    async def client(number):
        model = dice.choice(models)
        photos = [b"%d.%d" % (number, place) for place in range(dice.choice([1, 1, 1, 2, 7, 30]))]
        if dice.random() < 0.2:
            photos[dice.randrange(len(photos))] = BAD + b"%d" % number
        task = ask(scheduler, model, *photos, quantities=range(len(photos)))
        if dice.random() < 0.3:
            for _ in range(dice.randrange(40)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            reports = await task
        except asyncio.CancelledError:
            return "cancelled"
        except PhotoFailed as failure:
            return "bad" if photos[failure.number].startswith(BAD) else "wrong"
        assert reports == [model.report(photo, place) for place, photo in enumerate(photos)]
        return "answered"

    return await asyncio.gather(*[client(number) for number in range(60)])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), threads=st.integers(1, 4))
def test_no_answer_is_lost_or_doubled(seed, threads):
    models = [StagedModel("storm-a", threads), StagedModel("storm-b", 1), StagedModel("storm-c", 2, 8)]
    with scheduling(threads) as scheduler:
        outcomes = asyncio.run(_storm(scheduler, models, random.Random(seed)))
    assert {"answered", "bad"} <= set(outcomes) <= {"answered", "bad", "cancelled"}
    for model in models:
        assert len(set(model.log)) == len(model.log)
        assert load(model.name) == (0, 0)
