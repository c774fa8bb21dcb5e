"""The scheduler where requests are given up, photos fail, and the server ends."""

import asyncio
import contextlib
import gc
import threading
import weakref

import pytest

from serving.predictors.batching import PhotoFailed
from serving.predictors.errors import NotReady
from serving.predictors.photos import Photo
from tests.serving.staged_model import BAD, PATIENCE_S, StagedModel, ask, load, names, scheduling

pytestmark = pytest.mark.filterwarnings("error")


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
