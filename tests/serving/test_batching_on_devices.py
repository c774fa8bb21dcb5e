"""The scheduler with a device of its own that takes batches."""

import asyncio

import pytest

from serving.predictors.batching import PhotoFailed
from tests.serving.staged_model import BAD, StagedModel, ask, load, names, scheduling

pytestmark = pytest.mark.filterwarnings("error")


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
