"""Submitting, against a server that speaks what an upload and a run need of Kubeflow Pipelines' REST API."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.catalogue import PIPELINES
from pipelines.submission import SubmitError, Target, submit
from stocktake.code_version import code_version
from tests.ports import free_port

SHELVES = PIPELINES["shelf_detector"]


class Api(BaseHTTPRequestHandler):
    """Keeps pipelines, versions, experiments and runs in memory on its server."""

    def do_GET(self):
        self.answer()

    def do_POST(self):
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
        if route == "POST /pipelines/upload_version":
            package = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
            number = f"v{len(self.versions) + 1}"
            self.versions.append({"name": query["name"], "package": list(yaml.safe_load_all(package))})
            return 200, {"pipeline_id": query["pipelineid"], "pipeline_version_id": number}
        if route == "GET /experiments":
            return 200, {"experiments": self.experiments} if self.experiments else {}
        if route == "POST /experiments":
            self.experiments.append({**json.loads(body), "experiment_id": "e1"})
            return 200, self.experiments[-1]
        if route == "POST /runs":
            self.runs.append(json.loads(body))
            return 200, {**self.runs[-1], "run_id": f"r{len(self.runs)}"}
        return 404, {"error": route}


@pytest.fixture
def api():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
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
    assert version["name"] == submission.version
    assert version["name"].startswith(code_version())
    assert version["package"][0]["pipelineInfo"]["name"] == "shelf-detector"
    (run,) = api.runs
    assert run["runtime_config"]["parameters"] == arguments
    assert run["pipeline_version_reference"]["pipeline_version_id"] == "v1"
    assert run["experiment_id"] == "e1"
    assert api.experiments[0]["display_name"] == "shelves"
    assert submission.link == f"{api.host}/#/runs/details/r1"


def test_the_second_time_is_a_new_version_of_the_same_pipeline(api, arguments):
    for _ in range(2):
        submit(SHELVES.definition, arguments, Target(api.host, "shelves"))
    assert len(api.pipelines) == 1
    assert len(api.versions) == 2
    assert [run["pipeline_version_reference"]["pipeline_version_id"] for run in api.runs] == ["v1", "v2"]


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
    assert main(["submit", "shelf-detector", "--host", api.host, "--param", "source=s3://x"]) == 0
    assert f"{api.host}/#/runs/details/r1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--param", "source=s3://x"], "--host is missing"),
        (["--host", "localhost:8888", "--param", "source=s3://x"], "must look like"),
        (["--host", "http://localhost:1", "--param", "source=photos"], "a path of this machine"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(words, message, capsys, monkeypatch):
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    assert main(["submit", "shelf_detector", *words]) == 1
    assert message in capsys.readouterr().err
