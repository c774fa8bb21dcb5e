"""Submitting, against a server that speaks what we need of Kubeflow Pipelines' REST API."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.catalogue import PIPELINES
from pipelines.compiling import Limits
from pipelines.following import follow
from pipelines.kubeflow import SubmitError, Target
from pipelines.schedules import Trigger, list_schedules, remove_schedule, set_schedule
from pipelines.submission import submit
from stocktake.code_version import code_version
from stocktake.errors import SettingsError
from tests.ports import free_port

SHELVES = PIPELINES["shelf_detector"]


class Api(BaseHTTPRequestHandler):
    """Keeps pipelines, versions, experiments, runs and recurring runs in memory on its server."""

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_DELETE(self):
        self.answer()

    def answer(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.append(self.headers.get("authorization"))
        route = f"{self.command} {url.path.removeprefix('/apis/v2beta1')}"
        status, content = self.server.handle(route, query, body)
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args):
        pass


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Api)
        self.pipelines, self.versions, self.experiments, self.runs, self.tokens = [], [], [], [], []
        self.health, self.refuse = (200, {"multi_user": False}), None
        self.recurring, self.deleted = [], []
        self.looks = [{"state": "SUCCEEDED"}]  # what a run is, look by look; the last one stays

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle(self, route, query, body):
        if route == "GET /healthz":
            return self.health
        if self.refuse:
            return self.refuse
        if route == "GET /pipelines":
            wanted = json.loads(query["filter"])["predicates"][0]["stringValue"]
            found = [entry for entry in self.pipelines if entry["display_name"] == wanted]
            return 200, {"pipelines": found} if found else {}
        if route == "POST /pipelines/upload":
            self.pipelines.append({"pipeline_id": "p1", "display_name": query["name"]})
            return 200, self.pipelines[-1]
        if route == "GET /pipelines/p1/versions":
            return 200, {"pipeline_versions": with_name(self.versions, query)}
        if route == "POST /pipelines/upload_version":
            package = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
            number = f"v{len(self.versions) + 1}"
            entry = {"display_name": query["name"], "pipeline_version_id": number}
            self.versions.append({**entry, "package": list(yaml.safe_load_all(package))})
            return 200, {**entry, "pipeline_id": query["pipelineid"]}
        if route == "GET /experiments":
            return 200, {"experiments": self.experiments} if self.experiments else {}
        if route == "POST /experiments":
            self.experiments.append({**json.loads(body), "experiment_id": "e1"})
            return 200, self.experiments[-1]
        if route == "POST /runs":
            self.runs.append(json.loads(body))
            return 200, {**self.runs[-1], "run_id": f"r{len(self.runs)}"}
        if route.startswith("GET /runs/"):
            look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
            return look if isinstance(look, tuple) else (200, {"run_id": route.rpartition("/")[2], **look})
        return self.handle_recurring(route, query, body)

    def handle_recurring(self, route, query, body):
        if route == "GET /recurringruns":
            return 200, {"recurringRuns": with_name(self.recurring, query)}
        if route == "POST /recurringruns":
            made = {**json.loads(body), "recurring_run_id": f"s{len(self.recurring) + len(self.deleted) + 1}"}
            self.recurring.append({**made, "status": "ENABLED"})
            return 200, made
        if route.startswith("DELETE /recurringruns/"):
            self.deleted.append(route.rpartition("/")[2])
            self.recurring = [each for each in self.recurring if each["recurring_run_id"] not in self.deleted]
            return 200, {}
        return 404, {"error": route}


def with_name(entries, query):
    """Those that the filter of the query lets through."""
    if "filter" not in query:
        return entries
    wanted = json.loads(query["filter"])["predicates"][0]["stringValue"]
    return [entry for entry in entries if entry["display_name"] == wanted]


def task(name, state, begun=0, **more):
    created = f"2026-11-22T06:00:{begun:02d}Z"
    return {"display_name": name, "state": state, "create_time": created, "task_id": name, **more}


@pytest.fixture
def api():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def arguments():
    return SHELVES.arguments({"source": "s3://photos/sku110k", "epochs": 3})


def test_the_pipeline_is_uploaded_and_run_once_with_the_arguments(api, arguments):
    submission = submit(SHELVES.definition, arguments, Target(api.host, "shelves"))
    assert [entry["display_name"] for entry in api.pipelines] == ["shelf-detector"]
    (version,) = api.versions
    assert version["display_name"] == submission.version
    assert version["display_name"].startswith(code_version())
    assert version["package"][0]["pipelineInfo"]["name"] == "shelf-detector"
    (run,) = api.runs
    assert run["runtime_config"]["parameters"] == arguments
    assert run["pipeline_version_reference"]["pipeline_version_id"] == "v1"
    assert run["experiment_id"] == "e1"
    assert api.experiments[0]["display_name"] == "shelves"
    assert submission.link == f"{api.host}/#/runs/details/r1"


def test_the_same_pipeline_again_is_the_same_version(api, arguments):
    for _ in range(2):
        submit(SHELVES.definition, arguments, Target(api.host, "shelves"))
    assert (len(api.pipelines), len(api.versions), len(api.runs)) == (1, 1, 2)
    submit(SHELVES.definition, arguments, Target(api.host, "shelves"), Limits(retries=5))
    assert [run["pipeline_version_reference"]["pipeline_version_id"] for run in api.runs] == [
        "v1",
        "v1",
        "v2",
    ]


def test_the_token_is_sent(api, arguments):
    submit(SHELVES.definition, arguments, Target(api.host, "shelves", token="secret"))
    assert set(api.tokens) == {"Bearer secret"}


def test_a_refusal_is_an_error_with_status_and_reason(api, arguments):
    api.refuse = (403, {"error": "no access to namespace shops"})
    with pytest.raises(SubmitError, match=r"answered 403 Forbidden.*no access to namespace shops"):
        submit(SHELVES.definition, arguments, Target(api.host, "shelves"))


@pytest.mark.parametrize(
    ("health", "message"),
    [
        ((200, ["hello"]), "does not answer as Kubeflow Pipelines"),
        ((404, {}), "does not answer as Kubeflow Pipelines"),
        ((401, {}), "wants a login"),
    ],
)
def test_a_server_of_another_kind_is_named_as_such(health, message, api, arguments):
    api.health = health
    with pytest.raises(SubmitError, match=message) as error:
        submit(SHELVES.definition, arguments, Target(api.host, "shelves"))
    assert api.host in str(error.value)


def test_an_answer_that_is_no_answer_is_an_error(api, arguments):
    api.refuse = (200, ["hello"])
    with pytest.raises(SubmitError, match=re.escape(api.host)):
        submit(SHELVES.definition, arguments, Target(api.host, "shelves"))


def test_a_host_that_cannot_be_reached_is_one_line_and_a_hint(capsys):
    host = f"http://127.0.0.1:{free_port()}"
    assert main(["submit", "shelf_detector", "--host", host, "--param", "source=s3://x"]) == 1
    message = capsys.readouterr().err
    assert f"{host} cannot be reached" in message
    assert "port-forward" in message
    assert "Traceback" not in message


def test_the_link_is_printed(api, capsys):
    words = ["submit", "shelf-detector", "--host", api.host, "--param", "source=s3://x"]
    assert main([*words, "--detach"]) == 0
    out = capsys.readouterr().out
    assert out == f"version {api.versions[0]['display_name']} started: {api.host}/#/runs/details/r1\n"
    assert main(words) == 0
    assert "the run has succeeded after 0:00:00" in capsys.readouterr().out


def test_states_of_steps_are_said_when_they_change(api):
    driver, train = task("train-driver", "RUNNING"), task("train", "PENDING", 2)
    api.looks = [
        {"state": "RUNNING", "run_details": {"task_details": [driver, task("ingest", "RUNNING", 1)]}},
        (503, {"error": "starting"}),
        {"state": "RUNNING", "run_details": {"task_details": [train, task("ingest", "SUCCEEDED", 1)]}},
        {"state": "RUNNING", "run_details": {"task_details": [train, task("ingest", "SUCCEEDED", 1)]}},
        {"state": "SUCCEEDED", "run_details": {"task_details": [
            task("train", "SUCCEEDED", 2), task("ingest", "SUCCEEDED", 1), task("ingest", "SUCCEEDED", 3)]}},
    ]  # fmt: skip
    said = []
    done = follow(Target(api.host), "r1", {"ingest", "train"}, said.append, poll_s=0)
    assert [line.partition(" ")[2] for line in said] == [
        "ingest: running", "ingest: succeeded", "train: pending", "train: succeeded", "ingest 2: succeeded",
    ]  # fmt: skip
    assert done == f"the run has succeeded after 0:00:00: {api.host}/#/runs/details/r1"


def test_a_run_that_fails_says_which_step_and_where_its_log_is(api, capsys):
    failed = task("train-shelf-detector", "FAILED", error={"message": "exit code 1"})
    api.looks = [{"state": "FAILED", "run_details": {"task_details": [failed]}}]
    words = ["--host", api.host, "--namespace", "shops", "--param", "source=s3://x"]
    assert main(["submit", "shelf_detector", *words]) == 1
    said = capsys.readouterr().err
    assert "train-shelf-detector failed (exit code 1)" in said
    assert f"{api.host}/#/runs/details/r1" in said
    assert "kubectl -n shops logs -l pipeline/runid=r1 -c main" in said


def test_an_api_that_stays_away_ends_the_following_and_not_the_run(api):
    api.looks = [(503, {"error": "gone"})]
    with pytest.raises(SubmitError, match=r"answered 503.*the run goes on without us: .*/runs/details/r1"):
        follow(Target(api.host), "r1", {"train"}, print, poll_s=0, outage_s=0)


def test_a_schedule_is_set_once_and_replaced_by_its_name(api, arguments, capsys):
    target, nightly = Target(api.host, "shelves"), Trigger(cron="0 0 3 * * *")
    first = set_schedule(SHELVES.definition, arguments, target, "night", nightly)
    again = set_schedule(SHELVES.definition, arguments, target, "night", nightly)
    assert (first.is_new, again.is_new, first.link) == (True, False, again.link)
    (made,) = api.recurring
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert made["runtime_config"]["parameters"] == arguments
    assert (made["no_catchup"], made["max_concurrency"]) == (True, 1)

    hourly = set_schedule(SHELVES.definition, arguments, target, "night", Trigger(interval=3600))
    other = set_schedule(
        SHELVES.definition, {**arguments, "epochs": 9}, target, "night", Trigger(interval=3600)
    )
    assert (hourly.is_new, other.is_new, api.deleted) == (True, True, ["s1", "s2"])
    assert [(each.name, each.trigger) for each in list_schedules(target)] == [("night", "every 3600 s")]

    api.recurring[0]["status"] = "DISABLED"
    assert set_schedule(
        SHELVES.definition, {**arguments, "epochs": 9}, target, "night", Trigger(interval=3600)
    ).is_new
    assert main(["schedules", "--host", api.host]) == 0
    assert capsys.readouterr().out == f"night: every 3600 s, {api.host}/#/recurringrun/details/s4\n"
    remove_schedule(target, "night")
    assert api.recurring == []
    with pytest.raises(SubmitError, match="there is no schedule night"):
        remove_schedule(target, "night")


def test_the_verb_sets_a_schedule_and_starts_no_run(api, capsys):
    words = [
        "submit",
        "shelf_detector",
        "--host",
        api.host,
        "--param",
        "source=s3://x",
        "--interval",
        "86400",
    ]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("shelf-detector is set, every 86400 s: ")
    assert main(words) == 0
    assert "shelf-detector is unchanged" in capsys.readouterr().out
    assert api.runs == []


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        ({"cron": "0 3 * * *"}, "6 fields, seconds first"),
        ({"interval": 5}, "at least 60 seconds"),
        ({"cron": "@daily", "interval": 3600}, "one of --cron and --interval"),
    ],
)
def test_a_schedule_that_cannot_be(trigger, message):
    with pytest.raises(SettingsError, match=message):
        Trigger(**trigger)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--param", "source=s3://x"], "--host is missing"),
        (["--host", "localhost:8888", "--param", "source=s3://x"], "must look like"),
        (["--host", "http://localhost:1", "--param", "source=photos"], "a path of this machine"),
        (["--host", "http://localhost:1", "--param", "source=s3://x", "--hours", "train=x"], "whole number"),
        (["--host", "http://localhost:1", "--param", "source=s3://x", "--schedule", "n"], "--cron or"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(words, message, capsys, monkeypatch):
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    assert main(["submit", "shelf_detector", *words]) == 1
    assert message in capsys.readouterr().err
