import errno
import logging
import signal

import pytest

from stocktake.errors import DataError
from stocktake.program import run_program


def raising(error):
    def action():
        raise error

    return action


def test_done_is_silent(capsys):
    assert run_program("count", lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (DataError("a.csv: empty; give another"), 1, "count: a.csv: empty; give another\n"),
        (
            FileNotFoundError(errno.ENOENT, "x", "a.csv"),
            1,
            "count: a.csv: there is no such file or folder; check the path\n",
        ),
        (KeyboardInterrupt(), 130, "\ncount: stopped; run it again\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_status(error, status, said, capsys):
    assert run_program("count", raising(error), "run it again") == status
    assert capsys.readouterr() == ("", said)


def test_stopped_without_a_hint(capsys):
    assert run_program("count", raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "\ncount: stopped\n"


def test_a_cluster_stops_it_as_a_person_does(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert run_program("count", lambda: signal.raise_signal(signal.SIGTERM), "run it again") == 130
    assert capsys.readouterr().err == "\ncount: stopped; run it again\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("level", "shown"), [(logging.DEBUG, True), (logging.INFO, False)])
def test_the_traceback_is_for_those_who_ask(level, shown, caplog):
    with caplog.at_level(level):
        run_program("count", raising(DataError("bad")))
    assert ("Traceback" in caplog.text) == shown


def test_a_defect_of_ours_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_program("count", raising(ZeroDivisionError()))
