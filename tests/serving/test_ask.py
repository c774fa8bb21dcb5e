"""The client that people copy from, against a real server."""

import asyncio
import json
import subprocess
import sys

import pytest

from serving.ask import ask, count, main
from stocktake.errors import StoreError
from tests.ports import free_port
from tests.serving.conftest import ROOT


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_answers_are_the_offline_answers(server, detector, photos, protocol):
    sent = [photos["shelf"], photos["blank"], photos["turned"]]

    answers = asyncio.run(ask(sent, server.url, server.grpc if protocol == "grpc" else None))

    offline = [detector.detect(photo) for photo in sent]
    assert [answer.report for answer in answers] == [report.to_json() for report in offline]
    for answer, report in zip(answers, offline, strict=True):
        assert answer.boxes == pytest.approx(report.boxes)
        assert answer.scores == pytest.approx(report.scores)


def test_the_program_prints_a_line_per_photo(server, detector, photos, tmp_path, capsys):
    path = tmp_path / "shelf.png"
    path.write_bytes(photos["shelf"])

    assert main([str(path), "--http", server.url]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said == {"photo": "shelf.png", **detector.detect(photos["shelf"]).to_json()}


@pytest.mark.parametrize("flag", ["--http", "--grpc"])
def test_the_program_in_a_process_of_its_own(server, photos, tmp_path, flag):
    """KServe, which is imported here already, would read its command line."""
    path = tmp_path / "shelf.png"
    path.write_bytes(photos["shelf"])
    where = server.url if flag == "--http" else server.grpc

    command = [sys.executable, "-m", "serving.ask", flag, where, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["products"] == 6


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_what_the_server_objects_to_is_passed_on(server, protocol):
    with pytest.raises(StoreError, match="photo 0"):
        asyncio.run(ask([b"no photo"], server.url, server.grpc if protocol == "grpc" else None))


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_counts_are_the_offline_counts(server, counter, bins, protocol):
    where = {"http": server.url, "grpc": server.grpc if protocol == "grpc" else None}
    offline = [counter.count(data, 2) for data in bins]

    plain, verified = asyncio.run(count(bins, **where)), asyncio.run(count(bins, [2] * 4, **where))

    for answers in (plain, verified):
        for answer, report in zip(answers, offline, strict=True):
            assert answer.count == report.count
            assert answer.probabilities == pytest.approx(report.probabilities)
    assert [(answer.match_probability, answer.verdict) for answer in plain] == [(None, None)] * 4
    assert [answer.verdict for answer in verified] == [report.verdict for report in offline]
    assert [answer.match_probability for answer in verified] == pytest.approx(
        [report.match_probability for report in offline]
    )


def test_the_program_asks_about_bins(server, bins, tmp_path, capsys):
    path = tmp_path / "bin.png"
    path.write_bytes(bins[1])

    assert main([str(path), "--http", server.url, "--bins", "--expected-quantity", "2"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["photo"], said["count"], said["verdict"]) == ("bin.png", 2, "accept")
    assert len(said["probabilities"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--expected-quantity", "2"], "--expected-quantity goes with --bins"),
        (["--bins", "--expected-quantity", "-1"], "--expected-quantity -1: give a number of items"),
        (["--bins", "--expected-quantity", "4294967296"], "4294967296: give a number of items"),
    ],
)
def test_quantities_that_cannot_be_sent(capsys, arguments, message):
    with pytest.raises(SystemExit):
        main(["photo.jpg", *arguments])
    assert message in capsys.readouterr().err


def test_mistakes_are_one_line(tmp_path, capsys):
    port = free_port()

    assert main([str(tmp_path / "none.jpg")]) == 1
    assert "none.jpg: there is no such file" in capsys.readouterr().err

    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"x")
    assert main([str(photo), "--http", f"http://127.0.0.1:{port}"]) == 1
    assert f"127.0.0.1:{port} did not answer" in capsys.readouterr().err
