import re
import socket
import subprocess
import sys
from itertools import chain

import pytest

from serving.predictors.__main__ import main
from stocktake.model_card import MODEL_FILE
from tests.ports import free_port, free_ports
from tests.serving.conftest import ROOT
from tests.tiny_model import write_model_dir


def run(*arguments):
    """The line that the command ends with."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return str(caught.value)


@pytest.fixture
def model_dir(tmp_path):
    return write_model_dir(tmp_path / "model")


def test_help_teaches(capsys):
    assert run("--help") == "0"

    text = capsys.readouterr().out
    for flag in ("--model_name", "--model_dir", "--model ", "--http_port", "--grpc_port", "--threads"):
        assert flag in text
    assert "python -m serving.predictors --model_name shelf-detector --model_dir runs/demo/model" in text
    assert "curl --data-binary @photo.jpg" in text


def test_unknown_flag(capsys):
    assert run("--modeldir", "x") == "2"
    assert "unrecognized arguments: --modeldir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model_dir", "{}/none"], r"error: .*none/model_card.json: there is no such file"),
        (["--model", "shelves"], r"error: --model shelves: give NAME=DIR"),
        (["--model", "shelves="], r"error: --model shelves=: give NAME=DIR"),
        (["--model", "a/b={}"], r"error: model name 'a/b': use letters"),
        (["--model", "a={}", "--model", "a={}"], r"error: model name 'a': given twice"),
        (
            ["--model_name", "a", "--model_dir", "{}", "--model", "a={}"],
            r"error: model name 'a': given twice",
        ),
        (["--model_dir", "{}", "--http_port", "0"], r"error: --http_port 0: give a number from 1 to 65535"),
        (["--model_dir", "{}", "--grpc_port", "70000"], r"error: --grpc_port 70000: give a number"),
        (["--model_dir", "{}", "--threads", "0"], r"error: --threads 0: give 1 or more"),
        (["--model_dir", "{}", "--grace_seconds", "9"], r"error: --grace_seconds 9: give 30 or more"),
        (["--model_dir", "{}", "--max_bodies_bytes", "9"], r"error: --max_bodies_bytes 9: give 134217728 or"),
    ],
)
def test_mistakes_get_one_line(model_dir, arguments, message):
    assert re.match(message, run(*[argument.format(model_dir) for argument in arguments]))


def test_name_defaults_to_the_task(model_dir):
    assert "model name 'shelf-detector': given twice" in run(
        "--model_dir", model_dir, "--model", f"shelf-detector={model_dir}"
    )


@pytest.mark.parametrize("flag", ["--http_port", "--grpc_port"])
def test_port_in_use(model_dir, flag):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"--http_port": free_port(), "--grpc_port": free_port(), flag: port}

        assert run("--model_dir", model_dir, *chain.from_iterable(ports.items())).startswith(
            f"error: {flag} {port}: Address already in use"
        )


def test_a_damaged_model_ends_the_process_with_the_reason(model_dir):
    with (model_dir / MODEL_FILE).open("ab") as file:
        file.write(b"\0")
    http_port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "serving.predictors", "--model_dir", str(model_dir)]
    command += ["--http_port", str(http_port), "--grpc_port", str(grpc_port)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)

    assert done.returncode == 1
    assert re.search(rf"^error: .*{MODEL_FILE}: its SHA-256 is", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
