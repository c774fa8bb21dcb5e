import pytest

from pipelines.task_log import ExecutorFilter, LineReader, cause_of_failure

TRACEBACK = """\
some words
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    read()
OSError: gone

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "b.py", line 2, in <module>
    ingest()
    ^^^^^^^^
stocktake.errors.DataError: photos/a.jpg is truncated;
export it again
"""


def read_all(*pieces: bytes) -> tuple[list[str], list[str]]:
    reader, stays, shown = LineReader(), [], []
    for piece in pieces:
        for line, is_final in reader.feed(piece):
            (stays if is_final else shown).append(line)
    stays.append(reader.rest())
    return stays, shown


def test_lines_are_put_together_from_pieces():
    assert read_all(b"one\r", b"\ntw", b"o\r\nthree")[0] == ["one", "two", "three"]


def test_of_a_bar_that_is_redrawn_only_the_last_state_stays():
    stays, shown = read_all(b"\r 10%", b"\r 20%\r", b" 30%\r\n", b"end\r\n")
    assert stays == [" 30%", "end", ""]
    assert shown == [" 10%", " 20%"]


def test_a_bar_that_ends_its_state_with_the_return_does_not_grow():
    reader = LineReader()
    for _ in range(1000):
        list(reader.feed(b"50% done\r"))
    assert reader.rest() == "50% done"


def test_colours_are_left_out_and_broken_text_is_kept():
    assert read_all(b"\x1b[32mgreen\x1b[0m\n", b"\xff bad\n")[0][:2] == [
        "green",
        "\N{REPLACEMENT CHARACTER} bad",
    ]


def test_the_executor_is_not_shown_but_what_the_step_logs_is():
    lines = [
        "[KFP Executor 2026-01-01 10:00:00,000 INFO]: Looking for component `a`",
        "[KFP Executor 2026-01-01 10:00:00,000 INFO]: Got executor_input:",
        "{",
        '    "inputs": {',
        "    }",
        "}",
        "printed by the step",
        "[KFP Executor 2026-01-01 10:00:00,000 INFO]: 8 photos read",
        "[KFP Executor 2026-01-01 10:00:00,000 INFO]: Wrote executor output file to x.",
    ]
    visible = ExecutorFilter()
    assert [text for line in lines if (text := visible(line))] == ["printed by the step", "8 photos read"]


@pytest.mark.parametrize(
    ("written", "status", "cause"),
    [
        (TRACEBACK, 1, "DataError: photos/a.jpg is truncated;\nexport it again"),
        ("Traceback (most recent call last):\n  File\nKeyboardInterrupt\n", 1, "KeyboardInterrupt"),
        ("sh: mktemp: not found\n", 127, "sh: mktemp: not found"),
        ("", 3, "exit status 3 and no output"),
        (TRACEBACK, 137, "ended by SIGKILL, most often because memory ran out"),
        ("", -15, "ended by SIGTERM"),
    ],
)
def test_the_cause(written, status, cause, tmp_path):
    log = tmp_path / "task.log"
    log.write_text(written)
    assert cause_of_failure(log, status) == cause
