"""The scheduler with real threads, and models whose stages wait for the test."""

import asyncio
import contextlib
import gc
import random
import threading
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from serving.predictors.batching import PhotoFailed
from serving.predictors.errors import NotReady
from serving.predictors.photos import Photo
from tests.serving.staged_model import BAD, PATIENCE_S, StagedModel, ask, scheduling

pytestmark = pytest.mark.filterwarnings("error")


def load(name):
    """Photos that wait and that are worked on, as Prometheus sees them."""
    values = [
        REGISTRY.get_sample_value(f"stocktake_photos_{what}", {"model": name})
        for what in ("waiting", "working")
    ]
    return tuple(int(value or 0) for value in values)


def names(prefix, count):
    return [b"%s%d" % (prefix, number) for number in range(count)]


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


def test_who_is_cancelled_leaves_the_queue_at_once():
    async def main(scheduler, model):
        with model.hold("decode"):
            kept = ask(scheduler, model, b"kept")
            await model.until(lambda model: model.running["decode"] == 1)
            given_up = ask(scheduler, model, *names(b"gone", 5))
            await asyncio.sleep(0)
            assert load("cancelled") == (5, 1)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            assert load("cancelled") == (0, 1)
        assert await kept == [model.report(b"kept")]

    model = StagedModel("cancelled")
    with scheduling(1) as scheduler:
        asyncio.run(main(scheduler, model))
    assert model.begun("decode") == [b"kept"]


@pytest.mark.parametrize("stage", ["decode", "infer", "interpret"])
def test_what_runs_for_who_is_cancelled_is_thrown_away(stage):
    async def main(scheduler, model):
        with model.hold(stage):
            task = asyncio.create_task(asyncio.wait_for(scheduler.run(model, [b"slow"], [None]), 1000))
            await model.until(lambda model: model.running[stage] == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert load(model.name) == (0, 1)
        assert await ask(scheduler, model, b"next") == [model.report(b"next")]

    model = StagedModel(f"thrown away at {stage}")
    with scheduling() as scheduler:
        asyncio.run(main(scheduler, model))
    stages = ["decode", "infer", "interpret"]
    assert [what for what, photo in model.log if photo == b"slow"] == stages[: stages.index(stage) + 1]
    assert load(model.name) == (0, 0)


def test_who_is_cancelled_just_when_the_answer_is_there():
    mishaps = []

    async def main(scheduler, model):
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: mishaps.append(context))
        with model.hold("interpret"):
            task = ask(scheduler, model, b"answered")
            await model.until(lambda model: model.running["interpret"] == 1)
        scheduler.close()  # the answer is made while the loop is kept from handing it over
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with scheduling() as scheduler:
        asyncio.run(main(scheduler, StagedModel()))
    assert mishaps == []


def test_a_deadline_is_a_cancellation():
    async def main(scheduler, model):
        with model.hold("decode"):
            first = ask(scheduler, model, b"first")
            await model.until(lambda model: model.running["decode"] == 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await scheduler.run(model, [b"late"], [None])
        await first

    model = StagedModel()
    with scheduling(1) as scheduler:
        asyncio.run(main(scheduler, model))
    assert model.begun("decode") == [b"first"]


def test_an_error_reaches_its_request_only_and_ends_it():
    async def main(scheduler, model):
        photos = [b"good", BAD + b"!", *names(b"never", 60)]
        failing, other = ask(scheduler, model, *photos), ask(scheduler, model, *names(b"p", 9))
        with pytest.raises(PhotoFailed) as caught:
            await failing
        assert (caught.value.number, caught.value.__cause__.args) == (1, (BAD + b"!",))
        assert await other == [model.report(photo) for photo in names(b"p", 9)]

    model = StagedModel("failing")
    with scheduling(1) as scheduler:
        asyncio.run(main(scheduler, model))
    assert len([photo for photo in model.begun("decode") if photo.startswith(b"never")]) <= 1
    assert load("failing") == (0, 0)


@pytest.mark.parametrize("fault", [RuntimeError, StopIteration])
def test_an_engine_that_fails(fault):
    async def main(scheduler, model):
        model.fails = fault()
        with pytest.raises(PhotoFailed) as caught:
            await ask(scheduler, model, b"p")
        assert isinstance(caught.value.__cause__, fault)
        model.fails = None
        assert await ask(scheduler, model, b"q") == [model.report(b"q")]

    with scheduling() as scheduler:
        asyncio.run(main(scheduler, StagedModel()))


def test_too_few_answers():
    async def main(scheduler, model):
        model.infer = lambda batch, alone: []
        with pytest.raises(PhotoFailed) as caught:
            await ask(scheduler, model, b"p")
        assert isinstance(caught.value.__cause__, ValueError)

    with scheduling() as scheduler:
        asyncio.run(main(scheduler, StagedModel()))


def test_nothing_stays_of_a_photo_that_failed_even_without_a_garbage_collection():
    async def main(scheduler, model):
        for _ in range(3):
            with contextlib.suppress(PhotoFailed):  # pytest.raises would keep it
                await scheduler.run(model, [*names(b"p", 5), BAD, *names(b"q", 5)], [None] * 11)
                raise AssertionError("did not fail")
        await ask(scheduler, model, b"last")

    gc.collect()
    gc.disable()
    try:
        with scheduling() as scheduler:
            asyncio.run(main(scheduler, StagedModel()))
        assert not any(type(thing) is Photo for thing in gc.get_objects())
    finally:
        gc.enable()


def test_an_idle_thread_keeps_no_photo():
    freed = threading.Event()

    async def main(scheduler, model):
        decode = model.decode

        def watched(photos):
            (decoded,) = decode(photos)
            weakref.finalize(decoded.photo.pixels, freed.set)
            return [decoded]

        model.decode = watched
        await ask(scheduler, model, b"p")

    with scheduling() as scheduler:
        asyncio.run(main(scheduler, StagedModel()))
        assert freed.wait(PATIENCE_S)


# --- a device that takes batches ---


def test_a_free_lane_takes_what_waits_and_no_more_than_fits():
    async def main(scheduler, model):
        with model.hold("infer"):
            tasks = [ask(scheduler, model, b"first")]
            await model.until(lambda model: model.running["infer"] == 1)
            tasks += [ask(scheduler, model, photo) for photo in names(b"p", 11)]
            await model.until(lambda model: len(model.begun("decode")) == 12 and not model.running["decode"])
        await asyncio.gather(*tasks)

    model = StagedModel(lanes=1, max_batch=8)
    with scheduling(1) as scheduler:
        asyncio.run(main(scheduler, model))
    batches = [photos for photos, _ in model.calls]
    assert batches == [[b"first"], names(b"p", 11)[:8], names(b"p", 11)[8:]]


def test_no_more_is_unpacked_than_two_rounds_of_batches_take():
    async def main(scheduler, model):
        with model.hold("infer"):
            tasks = [ask(scheduler, model, photo) for photo in names(b"p", 40)]
            await model.until(lambda model: len(model.begun("decode")) == 12 and not model.running["decode"])
        await asyncio.gather(*tasks)

    model = StagedModel(lanes=2, max_batch=3)
    with scheduling() as scheduler:
        asyncio.run(main(scheduler, model))
    assert model.most_unpacked == 12


def test_no_lane_idles_while_the_other_is_busy():
    async def main(scheduler, model):
        with model.hold("infer"):
            tasks = [ask(scheduler, model, b"p0")]
            await model.until(lambda model: model.running["infer"] == 1)
            tasks += [ask(scheduler, model, b"p1")]
            await model.until(lambda model: model.running["infer"] == 2)
        await asyncio.gather(*tasks)

    with scheduling() as scheduler:
        asyncio.run(main(scheduler, StagedModel(lanes=2, max_batch=8)))


def test_batches_of_models_take_turns():
    async def main(scheduler, a, b):
        with a.hold("infer"), b.hold("infer"):
            tasks = [ask(scheduler, a, b"first")]
            await a.until(lambda model: model.running["infer"] == 1)
            tasks += [ask(scheduler, a, photo) for photo in names(b"a", 6)]
            await a.until(lambda model: len(model.begun("decode")) == 7 and not model.running["decode"])
            tasks += [ask(scheduler, b, b"b0")]
            await b.until(lambda model: model.begun("decode") and not model.running["decode"])
        await asyncio.gather(*tasks)

    a, b = StagedModel("a", lanes=1, max_batch=4), StagedModel("b", lanes=1, max_batch=4)
    a.calls = b.calls
    with scheduling(1) as scheduler:
        asyncio.run(main(scheduler, a, b))
    assert [len(photos) for photos, _ in a.calls] == [1, 4, 1, 2]
    assert a.calls[2][0] == [b"b0"]


@pytest.mark.parametrize("least", [1, 2])
def test_a_batch_that_fails_is_run_one_by_one(least):
    async def main(scheduler, model):
        with model.hold("infer"):
            tasks = [ask(scheduler, model, b"first")]
            await model.until(lambda model: model.running["infer"] == 1)
            tasks += [ask(scheduler, model, b"a", b"b"), ask(scheduler, model, b"c")]
            await model.until(lambda model: len(model.begun("decode")) == 4 and not model.running["decode"])
            model.fails, model.fails_from = RuntimeError("out of memory"), least
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == ([PhotoFailed] * 3 if least == 1 else [list] * 3)
        assert load("batch") == (0, 0)
        model.fails = None
        assert await ask(scheduler, model, b"d") == [model.report(b"d")]

    model = StagedModel("batch", lanes=1, max_batch=8)
    with scheduling() as scheduler:
        asyncio.run(main(scheduler, model))
    assert [len(photos) for photos, _ in model.calls] == [1, 3, 1, 1, 1, 1]


def test_a_device_that_decodes_takes_what_waits():
    decoded = []

    async def main(scheduler, model):
        with model.hold("decode"):
            first = ask(scheduler, model, b"first")
            await model.until(lambda model: model.running["decode"] == 1)
            tasks = [
                ask(scheduler, model, *names(b"many", 5)),
                ask(scheduler, model, BAD),
                ask(scheduler, model, b"x"),
            ]
            await asyncio.sleep(0)
        assert await first == [model.report(b"first")]
        many, bad, one = await asyncio.gather(*tasks, return_exceptions=True)
        assert many == [model.report(photo) for photo in names(b"many", 5)]
        assert type(bad.__cause__) is ValueError
        assert one == [model.report(b"x")]

    model = StagedModel("gpu", lanes=2, max_batch=4, max_decode=4)
    inner = model.decode
    model.decode = lambda photos: decoded.append(photos) or inner(photos)
    with scheduling(1) as scheduler:
        asyncio.run(main(scheduler, model))
    assert decoded == [[b"first"], [b"many0", BAD, b"x", b"many1"], [b"many2", b"many3", b"many4"]]
    assert load("gpu") == (0, 0)


# --- the end ---


def test_closing_finishes_what_was_accepted():
    async def refusal(scheduler, model):
        while True:  # until close() has got so far
            late = ask(scheduler, model, b"late")
            await asyncio.sleep(0)
            if late.done():
                return late.exception()
            late.cancel()

    async def main(scheduler, models):
        with models[0].hold("infer"), models[1].hold("infer"):
            tasks = [ask(scheduler, model, photo) for photo in names(b"p", 9) for model in models]
            await models[0].until(lambda model: model.running["infer"])
            closing = threading.Thread(target=scheduler.close)
            closing.start()
            assert isinstance(await refusal(scheduler, models[0]), NotReady)
        answers = await asyncio.gather(*tasks)
        assert answers == [[model.report(photo)] for photo in names(b"p", 9) for model in models]
        await asyncio.to_thread(closing.join)

    before = set(threading.enumerate())
    with scheduling() as scheduler:
        asyncio.run(main(scheduler, [StagedModel("a"), StagedModel("b", max_batch=4)]))
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert not [name for name in left if name.startswith(("photos-", "lane-"))]


def test_closing_after_everybody_left():
    async def main(scheduler, model):
        with model.hold("decode"):
            tasks = [ask(scheduler, model, photo) for photo in names(b"p", 9)]
            await model.until(lambda model: model.running["decode"] == 2)
            closing = threading.Thread(target=scheduler.close)
            closing.start()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(closing.join)

    model = StagedModel()
    with scheduling() as scheduler:
        asyncio.run(main(scheduler, model))
    assert len(model.begun("decode")) == 2


def test_the_loop_may_end_before_the_work():
    async def leave(scheduler, model):
        task = ask(scheduler, model, b"left")
        await model.until(lambda model: model.running["infer"] == 1)
        task.cancel()

    model = StagedModel()
    with scheduling() as scheduler:
        with model.hold("infer"):
            asyncio.run(leave(scheduler, model))
        assert asyncio.run(scheduler.run(model, [b"next"], [7])) == [model.report(b"next", 7)]


# --- everything at once ---


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
