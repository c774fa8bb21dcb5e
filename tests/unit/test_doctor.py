"""How checks are run and told, and those of this machine."""

import io
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.__main__ import main
from stocktake.doctor import machine
from stocktake.doctor.checks import CLUSTER, MACHINE
from stocktake.doctor.examination import examine, report
from stocktake.doctor.finding import Status, Unseen, fail, ok, warn
from stocktake.errors import StoreError

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def raising(error):
    def check():
        raise error

    return check


def test_the_order_is_that_of_the_table_and_a_dead_server_blocks_nobody(monkeypatch):
    hangs, slow, found = threading.Event(), threading.Event(), []
    clock = SimpleNamespace(monotonic=lambda: 60.0 if len(found) == 2 else 0.0)
    monkeypatch.setattr("stocktake.doctor.examination.time", clock)

    def first():
        slow.wait(60)
        return ok("at last")

    def second():
        slow.set()  # so they run side by side
        return ok("at once")

    try:
        checks = {"slow": first, "quick": second, "dead": lambda: ok(str(hangs.wait(60)))}
        for each in examine(checks, timeout_s=60):
            found.append(each)
    finally:
        hangs.set()
    assert [name for name, _ in found] == ["slow", "quick", "dead"]
    assert [finding.found for _, finding in found] == ["at last", "at once", "no answer within 60 s"]
    assert found[2][1].status is Status.FAIL


def test_errors_of_a_check_are_findings():
    errors = {"ours": StoreError("no bucket"), "unseen": Unseen("from elsewhere"), "bug": KeyError("spec")}
    found = dict(examine({name: raising(error) for name, error in errors.items()}, 60))
    assert found["ours"] == fail("no bucket")
    assert found["unseen"] == warn("from elsewhere")
    assert found["bug"].status is Status.FAIL
    assert "KeyError: 'spec'" in found["bug"].found


def test_a_line_is_one_line_with_the_mend_and_colour_only_on_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    checks = {"disk": lambda: fail("full\nof  photos", "rm photos"), "ports": lambda: ok("free")}
    plain, coloured = io.StringIO(), Terminal()
    assert report(checks, plain, 60) == report(checks, coloured, 60) == 1
    assert plain.getvalue().splitlines() == [
        f"fail  {'disk':<22}  full of photos; rm photos",
        f"ok    {'ports':<22}  free",
    ]
    assert coloured.getvalue().startswith("\x1b[31mfail\x1b[0m  disk")
    monkeypatch.setenv("NO_COLOR", "1")
    quiet = Terminal()
    report(checks, quiet, 60)
    assert quiet.getvalue() == plain.getvalue()


def test_passwords_in_addresses_are_not_told():
    stream = io.StringIO()
    report(
        {"mlflow": lambda: fail("http://me:secret@mlflow:5000/a does not answer", "ask me@home")}, stream, 60
    )
    assert stream.getvalue().rstrip().endswith("http" + "://…@mlflow:5000/a does not answer; ask me@home")


def test_the_command_line_for_this_machine(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("STOCKTAKE_TRAIN_IMAGE", "stocktake-train:latest")
    assert main(["doctor", "--machine"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[6:28].strip() for line in lines] == list(MACHINE)
    assert [line for line in lines if line.startswith("fail") and "stocktake-train:latest" in line]
    with pytest.raises(SystemExit):
        main(["doctor", "--machine", "--cluster"])


def test_every_check_has_a_name_that_fits_its_column():
    assert max(map(len, [*MACHINE, *CLUSTER])) <= 22


def test_packages_of_another_version(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert machine.packages().status is Status.WARN
    (tmp_path / "constraints.txt").write_text("pytest==1.0\nnot-there-at-all==1.0\n")
    finding = machine.packages()
    assert finding.status is Status.WARN
    assert "not 1.0" in finding.found
    assert "not-there" not in finding.found
    (tmp_path / "constraints.txt").write_text(f"pytest=={pytest.__version__}\n")
    assert machine.packages() == ok("1 packages have the versions of constraints.txt")


def test_a_store_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_STORE", str(tmp_path / "new" / "store"))
    assert machine.store().status is Status.OK
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("STOCKTAKE_STORE", "/proc/store")
    assert machine.store().status is Status.FAIL
    monkeypatch.setenv("STOCKTAKE_STORE", "ftp://photos")
    [(_, finding)] = examine({"store": machine.store}, 60)
    assert "'ftp'" in finding.found


def test_a_disk_that_is_nearly_full(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKTAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "DISK_ENOUGH", 1 << 60)
    assert machine.disk().status is Status.WARN
    monkeypatch.setattr(machine, "DISK_LEAST", 1 << 60)
    finding = machine.disk()
    assert finding.status is Status.FAIL
    assert "STOCKTAKE_CACHE" in finding.mend


def test_a_port_that_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(machine, "PORTS", (port,))
        assert machine.ports().found == f"port {port} is taken"
    assert machine.ports().status is Status.OK


def test_an_mlflow_that_does_not_answer(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs/mlflow.db")
    assert machine.mlflow().status is Status.OK
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    finding = machine.mlflow()
    assert finding.status is Status.FAIL
    assert "does not answer" in finding.found
