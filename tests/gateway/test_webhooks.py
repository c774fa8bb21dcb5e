"""Webhooks to a real server on the loopback device."""

import asyncio
import base64
import hashlib
import hmac
import socket
import threading

import pytest
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import select

from serving.gateway import deliveries, remote, webhooks
from serving.gateway.model_answers import Answer
from serving.gateway.records import photos
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Delivery, Job, Photo, State, Task, now
from serving.gateway.settings import GatewaySettings, load_gateway_settings
from serving.gateway.webhooks import Webhooks, sign
from stocktake.errors import SettingsError
from tests.webhook_receiver import Receiver


@pytest.fixture
def records(tmp_path):
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    yield records
    records.close()


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def finished_job(records: Records, url: str, state: State = State.FAILED) -> str:
    size = {"size": 9, "width": 30, "height": 20, "format": "jpeg", "sha256": "0" * 64}
    job = Job(owner="cam", task=Task.SHELVES, webhook=url, photos=[Photo(task=Task.SHELVES, **size)])
    with records.write() as session:
        session.add(job)
    with records.write() as session:
        photos.give_up(session, job.photos[0].id, state, "no photo")
    return job.id


def webhooks_of(records: Records, settings: GatewaySettings) -> Webhooks:
    return Webhooks(settings, records, Counter("calls", "", ["outcome"], registry=CollectorRegistry()))


def deliver(records: Records, receiver: Receiver, **more) -> int:
    """Make one round of calls; how many those were."""
    settings = load_gateway_settings(**{**receiver.settings, **more})

    async def call() -> int:
        async with asyncio.TaskGroup() as calling:
            return await webhooks_of(records, settings).begin(calling)

    return asyncio.run(call())


def delivery_of(records: Records, job_id: str) -> Delivery:
    with records.read() as session:
        return session.scalars(select(Delivery).where(Delivery.job_id == job_id)).one()


def make_due(records: Records) -> None:
    with records.write() as session:
        for delivery in session.scalars(select(Delivery)):
            delivery.next_at = now()


def test_a_job_is_told_of_once(records, receiver):
    job_id = finished_job(records, receiver.url)
    assert deliver(records, receiver) == 1
    assert deliver(records, receiver) == 0
    (told,) = receiver.told[job_id]
    assert (told["state"], told["photo_count"], told["finished_at"][-1]) == ("failed", {"failed": 1}, "Z")
    assert "sha256" not in str(told)
    delivery = delivery_of(records, job_id)
    assert (delivery.attempts, delivery.next_at, delivery.error) == (1, None, None)
    assert delivery.delivered_at


def test_a_receiver_that_fails_is_called_again(records, receiver):
    job_id, receiver.status = finished_job(records, receiver.url), 500
    assert deliver(records, receiver) == 1
    delivery = delivery_of(records, job_id)
    assert delivery.error == "its host answers 500"
    assert 3 < (delivery.next_at - now()).total_seconds() <= deliveries.FIRST_S
    assert deliver(records, receiver) == 0
    receiver.status = 204
    make_due(records)
    assert deliver(records, receiver) == 1
    assert len(receiver.told[job_id]) == 1
    first, second = receiver.headers
    assert first["webhook-id"] == second["webhook-id"] == delivery.id


def test_waits_become_longer_and_end(records, receiver):
    job_id, receiver.status = finished_job(records, receiver.url), 500
    waits = []
    for _ in range(deliveries.ATTEMPTS):
        make_due(records)
        assert deliver(records, receiver) == 1
        if next_at := delivery_of(records, job_id).next_at:
            waits.append(round((next_at - now()).total_seconds()))
    assert waits == sorted(waits)
    assert waits[-1] == deliveries.MOST_S
    assert len(waits) == deliveries.ATTEMPTS - 1
    assert delivery_of(records, job_id).next_at is None


def test_redirects_are_not_followed(records, receiver):
    job_id, receiver.status = finished_job(records, receiver.url), 307
    deliver(records, receiver)
    assert delivery_of(records, job_id).error == "its host answers 307"
    assert len(receiver.headers) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"webhook_hosts": "example.com"}, "its host is not one of those"),
        ({"private_hosts": ""}, "its host has an address that the gateway may not ask"),
        ({"webhook_secret": None}, "STOCKTAKE_GATEWAY_WEBHOOK_SECRET"),
    ],
)
def test_what_is_no_longer_allowed_is_not_called(records, receiver, changes, told):
    job_id = finished_job(records, receiver.url)
    assert deliver(records, receiver, **changes) == 1
    assert told in delivery_of(records, job_id).error
    assert not receiver.headers


def test_nobody_listens(records, receiver):
    gone = Receiver()
    gone.close()
    job_id = finished_job(records, gone.url)
    assert deliver(records, receiver, webhook_hosts=gone.host) == 1
    assert "its host cannot be asked: ConnectError" in delivery_of(records, job_id).error


def test_two_workers_do_not_call_at_once(records, receiver):
    for _ in range(12):
        finished_job(records, receiver.url)
    start, took = threading.Barrier(2), []

    def take():
        start.wait()
        took.extend(deliveries.take(records))

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while more := deliveries.take(records):
        took.extend(more)
    taken = [call.delivery_id for call in took]
    assert len(taken) == len(set(taken)) == 12


def test_a_host_that_does_not_answer_keeps_no_other_waiting(records, receiver, monkeypatch):
    """It takes connections and says nothing; its calls have waited longer, and none of them ends."""
    monkeypatch.setattr(webhooks, "CALL_S", 600)
    monkeypatch.setattr(remote, "FETCH_S", 600)

    async def call_until(settings: GatewaySettings, is_so) -> None:
        calling = asyncio.create_task(webhooks_of(records, settings).run())
        async with asyncio.timeout(90):
            while not is_so():
                await asyncio.sleep(0.02)
        assert not calling.done()
        calling.cancel()
        await asyncio.wait([calling])

    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        unheard = [finished_job(records, f"http://{host}/done") for _ in range(2 * deliveries.AT_ONCE)]
        heard = [finished_job(records, receiver.url) for _ in range(2 * deliveries.AT_ONE_HOST)]
        settings = {**receiver.settings, "webhook_hosts": f"{receiver.host},{host}"}
        asyncio.run(
            call_until(
                load_gateway_settings(**settings),
                lambda: all(delivery_of(records, job_id).delivered_at for job_id in heard),
            )
        )
    calls = [delivery_of(records, job_id) for job_id in unheard]
    assert {call.error for call in calls} == {None}  # nothing came of any yet
    assert sum(call.attempts for call in calls) == deliveries.AT_ONE_HOST
    assert set(receiver.told) == set(heard)


def test_a_fault_in_one_call_ends_no_other(records, receiver, monkeypatch):
    broken, job_id = finished_job(records, "http://broken.example/"), finished_job(records, receiver.url)

    async def locate(url, *about):
        if url.host == "broken.example":
            raise ZeroDivisionError
        return await remote.locate(url, *about)

    monkeypatch.setattr(webhooks, "locate", locate)
    assert deliver(records, receiver, webhook_hosts=f"broken.example,{receiver.host}") == 2
    assert delivery_of(records, broken).error == "a fault of the gateway: ZeroDivisionError"
    assert set(receiver.told) == {job_id}


def test_a_job_that_is_over_once_more_is_told_of_once_more(records, receiver):
    job_id = finished_job(records, receiver.url, State.DEAD)
    (call,) = deliveries.take(records)
    with records.write() as session:
        (photo,) = session.get_one(Job, job_id).photos
        assert photos.revive(session, photo.id)
    with records.write() as session:
        report = {"osa": 1.0, "voids": [], "products": 1, "tiers": 1}
        photos.finish(session, photo.id, Answer(report, [], "shelf-detector", "1"))
    deliveries.settle(records, call, None)  # of the first end, which nobody has to know of any more
    assert deliver(records, receiver) == 1
    assert [told["state"] for told in receiver.told[job_id]] == ["done"]


def test_the_signature_is_that_of_the_specification():
    key = bytes(range(32))
    secret = "whsec_" + base64.b64encode(key).decode()
    expected = hmac.new(key, b"msg_1.1700000000.{}", hashlib.sha256).digest()
    assert sign(secret, "msg_1", 1_700_000_000, b"{}") == "v1," + base64.b64encode(expected).decode()


@pytest.mark.parametrize(
    "secret", ["secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", base64.b64encode(b"x" * 32)]
)
def test_a_secret_that_is_none(secret):
    with pytest.raises(SettingsError, match=r"WEBHOOK_SECRET: .*openssl rand"):
        load_gateway_settings(webhook_secret=secret)
