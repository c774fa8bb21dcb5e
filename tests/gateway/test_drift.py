"""Drift in the records, and the training that it starts, over HTTP as Kubeflow's own client types have it."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from kfp_server_api import ApiClient
from prometheus_client import generate_latest
from sqlalchemy import select

from serving.gateway.drift import CameraDrift, find_drift
from serving.gateway.labelling import choose_photos, export_choice
from serving.gateway.records.database import Records
from serving.gateway.records.tables import Feedback, Job, Photo, Retraining, State, Task
from serving.gateway.retraining import last_trainings, reasons, retrain_where_due
from serving.gateway.settings import GatewaySettings
from serving.gateway.web.cameras import by_camera
from serving.gateway.worker_metrics import WorkerMetrics
from stocktake.drift.histograms import Drift, Histogram
from tests.gateway_thread import grey_photo

RANDOM = np.random.default_rng(4)
THEN = {"brightness": Histogram.of(RANDOM.normal(120, 20, 400))}
REFERENCES = {Task.SHELVES: THEN}


class Predictors:
    """Says what the models were made with."""

    async def references(self, wake=False):
        return REFERENCES


@pytest.fixture
def records(tmp_path):
    records = Records(f"sqlite:///{tmp_path}/records.db")
    records.migrate()
    yield records
    records.close()


def add_photos(records, camera, brightness, task=Task.SHELVES, store="north", **fields):
    job = Job(owner="cam", task=task)
    for place, value in enumerate(brightness):
        size = {"size": 9, "width": 30, "height": 20, "format": "jpeg", "sha256": "0" * 64}
        statistics = {"brightness": float(value), "unheard_of": 1.0}
        job.photos.append(
            Photo(
                place=place, task=task, store=store, camera=camera, statistics=statistics,
                state=State.DONE, **size, **fields,
            )
        )  # fmt: skip
    with records.write() as session:
        session.add(job)
    return job.photos


def test_a_camera_in_the_dark_has_drifted_and_others_have_not(records):
    add_photos(records, "same", RANDOM.normal(120, 20, 100))
    add_photos(records, "dark", RANDOM.normal(60, 20, 100))
    add_photos(records, "few", RANDOM.normal(60, 20, 49))
    add_photos(records, "bins", RANDOM.normal(60, 20, 100), task=Task.BINS)
    with records.read() as session:
        found = find_drift(session, REFERENCES)
        assert find_drift(session, REFERENCES, stores=["south"]) == []
        assert find_drift(session, {}) == []
    assert [(each.camera, each.measure, each.level) for each in found] == [
        ("dark", "brightness", "large"),
        ("same", "brightness", "none"),
    ]
    assert found[0].drift.values == 100
    assert reasons(found, 2) == {}
    assert "dark of north" in reasons(found, 1)[Task.SHELVES]


def test_a_row_for_each_camera_says_what_has_moved():
    def of(camera, measure, psi, chance):
        return CameraDrift(Task.SHELVES, "north", camera, measure, Drift(psi, chance, 60))

    moved, small, unsure = (
        of("a", "score", 0.3, 0.1),
        of("a", "products", 0.01, 0.1),
        of("b", "score", 0.6, 0.7),
    )
    first, second = by_camera([moved, unsure, small])
    assert (first.worst, first.said.tone, first.moved) == (moved, "alarm", ["how sure products are"])
    assert (second.worst, second.said.tone, second.moved) == (unsure, "good", [])


class Pipelines(BaseHTTPRequestHandler):
    """Answers what the gateway asks of Kubeflow Pipelines, if the requests are as its API has them."""

    def do_GET(self):
        self.server.seen.append(self.path)
        if "/pipelines/names/shelf-detector" in self.path:
            self.reply({"pipeline_id": "p1", "display_name": "shelf-detector"})
        elif "/pipelines/p1/versions" in self.path:
            versions = [{"pipeline_id": "p1", "pipeline_version_id": "v2"}]
            self.reply({"pipeline_versions": versions if self.server.has_versions else []})
        else:
            self.reply({"error_message": "not found"}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        run = ApiClient().deserialize(SimpleNamespace(data=body.decode()), "V2beta1Run")
        assert set(json.loads(body)) <= set(run.attribute_map.values())
        self.server.runs.append((self.headers.get("Authorization"), run))
        self.reply({"run_id": "r1"})

    def reply(self, said, status=200):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def pipelines():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pipelines)
    server.seen, server.runs, server.has_versions = [], [], True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def drifted(records):
    for camera in ("one", "two", "three"):
        add_photos(records, camera, RANDOM.normal(60, 20, 80))
    return records


def settings_for(pipelines, **more) -> GatewaySettings:
    url = f"http://127.0.0.1:{pipelines.server_port}"
    return GatewaySettings(pipelines_url=url, pipelines_token="secret", pipelines_namespace="shop", **more)


def retrain(records, settings, cameras=3):
    metrics = WorkerMetrics()
    tried = asyncio.run(retrain_where_due(records, Predictors(), settings, metrics.show_drift))
    said = generate_latest(metrics.registry).decode()
    assert 'camera="one",measure="brightness"' in said
    assert f'stocktake_drifted_cameras{{task="shelves"}} {cameras}.0' in said
    assert 'stocktake_drifted_cameras{task="bins"} 0.0' in said
    return tried


def test_training_is_started_once(drifted, pipelines):
    settings = settings_for(pipelines, retrain_parameters={"epochs": 3})
    (started,) = retrain(drifted, settings)
    assert retrain(drifted, settings) == []
    ((authorization, run),) = pipelines.runs
    assert authorization == "Bearer secret"
    assert run.pipeline_version_reference.to_dict() == {"pipeline_id": "p1", "pipeline_version_id": "v2"}
    assert run.runtime_config.parameters == {"epochs": 3}
    assert "namespace=shop" in pipelines.seen[0]
    with drifted.read() as session:
        kept = session.scalars(select(Retraining)).one()
    assert (kept.id, kept.run_id, kept.error) == (started.id, "r1", None)
    assert "3 cameras have drifted" in kept.reason


def test_two_cameras_are_too_few(records, pipelines):
    for camera in ("one", "two"):
        add_photos(records, camera, RANDOM.normal(60, 20, 80))
    assert retrain(records, settings_for(pipelines), cameras=2) == []
    assert pipelines.seen == []


def test_what_kubeflow_refuses_is_kept(drifted, pipelines):
    pipelines.has_versions = False
    (tried,) = retrain(drifted, settings_for(pipelines))
    assert "has no version" in tried.error
    assert pipelines.runs == []
    assert retrain(drifted, settings_for(pipelines)) == []  # not again at once
    pipelines.has_versions = True
    with drifted.write() as session:
        session.get_one(Retraining, tried.id).at -= timedelta(hours=2)
    (again,) = retrain(drifted, settings_for(pipelines))
    assert (again.run_id, again.error) == ("r1", None)
    with drifted.read() as session:
        (shown,) = last_trainings(session)
        assert (shown.id, shown.run_id) == (tried.id, "r1")  # a row for all its tries


@pytest.mark.parametrize("answer", [{"run": "r1"}, None])
def test_a_run_that_was_perhaps_started_is_not_started_again(drifted, pipelines, monkeypatch, answer):
    """What Kubeflow says is none of its answers, or does not come."""
    asked = []

    def take(handler):
        asked.append(handler.path)
        if answer:
            handler.reply(answer)
        else:
            handler.close_connection = True

    monkeypatch.setattr(Pipelines, "do_POST", take)
    (tried,) = retrain(drifted, settings_for(pipelines))
    assert "perhaps started" in tried.error
    with drifted.write() as session:
        session.get_one(Retraining, tried.id).at -= timedelta(days=13)
    assert retrain(drifted, settings_for(pipelines)) == []
    assert len(asked) == 1


def test_of_several_workers_one_asks(database, pipelines):
    records = Records(database)
    records.migrate()
    for camera in ("one", "two", "three"):
        add_photos(records, camera, RANDOM.normal(60, 20, 80))
    with ThreadPoolExecutor(8) as pool:
        tried = list(pool.map(lambda _: retrain(records, settings_for(pipelines)), range(8)))
    assert sorted(map(len, tried)) == [0] * 7 + [1]
    assert len(pipelines.runs) == 1
    records.close()


def test_without_kubeflow_somebody_is_told(drifted):
    (tried,) = retrain(drifted, GatewaySettings())
    assert "PIPELINES_URL" in tried.error
    with drifted.write() as session:
        session.get_one(Retraining, tried.id).at -= timedelta(days=1)
    assert retrain(drifted, GatewaySettings()) == []  # once is enough


def void(confidence):
    return {"products": 1, "tiers": 1, "osa": 0.5, "voids": [{"confidence": confidence}]}


def test_disputed_and_unsure_photos_are_chosen(records):
    sure, unsure, unsurer, disputed, deleted = (
        add_photos(records, "one", [100], report=void(confidence))[0]
        for confidence in (1.0, 0.7, 0.5, 0.9, 0.5)
    )
    with records.write() as session:
        session.add(Feedback(photo_id=disputed.id, void=0, verdict="not_a_void", by="ann"))
        session.add(Feedback(photo_id=sure.id, void=0, verdict="void", by="ann"))
        session.get_one(Photo, deleted.id).expired_at = deleted.taken_at
    with records.read() as session:
        chosen = choose_photos(session, Task.SHELVES, 9)
        assert [(photo.id, why) for photo, why in choose_photos(session, Task.SHELVES, 2)] == [
            (disputed.id, "disputed"),
            (unsurer.id, "unsure"),
        ]
        assert choose_photos(session, Task.BINS, 9) == []
    assert [photo.id for photo, _ in chosen] == [disputed.id, unsurer.id, unsure.id]


def test_the_choice_is_a_file_with_a_line_for_each(records, tmp_path):
    (photo,) = add_photos(records, "one", [100], report=void(0.6))
    to = tmp_path / "label.jsonl"
    said = export_choice(records, "s3://shop/photos", Task.SHELVES, 5, str(to))
    assert said.endswith("1 photos to label: 0 disputed, 1 unsure")
    (line,) = map(json.loads, to.read_text().splitlines())
    assert (line["id"], line["why"], line["report"]) == (photo.id, "unsure", void(0.6))
    assert line["uri"] == f"s3://shop/photos/photos/00/{'0' * 64}"


@pytest.mark.parametrize(
    ("measure_every", "measures"),
    [(1, {"brightness", "sharpness", "count", "probability"}), (2**31, {"count", "probability"})],
)
def test_one_photo_in_so_many_is_measured(start_gateway, measure_every, measures):
    gateway = start_gateway(measure_every=measure_every)
    with gateway.client() as client:
        sent = {"content": grey_photo(100), "headers": {"Content-Type": "image/png"}}
        client.post("/api/photos?task=bins", **sent).raise_for_status()
    with gateway.gateway.records.read() as session:
        (statistics,) = session.scalars(select(Photo.statistics))
    assert statistics.keys() == measures
