import io

from pipelines.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_progress_is_sampled():
    stream = io.StringIO()
    console = Console(stream, 2)
    console.event("train", "started")
    for step in range(100):
        console.progress("train", f"step {step}", 1.0)
    console.event("train", "done in 3.0 s")
    console.event("evaluate", "started")
    assert stream.getvalue().splitlines() == [
        "[1/2] train: started", "[1/2] train: done in 3.0 s", "[2/2] evaluate: started",
    ]  # fmt: skip


def test_after_a_while_the_newest_line_is_repeated(monkeypatch):
    monkeypatch.setattr("pipelines.console.PLAIN_INTERVAL_S", 0.0)
    stream = io.StringIO()
    Console(stream, 1).progress("train", "epoch 3", 75.2)
    assert stream.getvalue() == "      01:15 epoch 3\n"


def test_a_terminal_shows_one_line_that_is_overwritten_and_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    console = Console(stream, 1)
    console.progress("train", "epoch 1 of very many", 1.0)
    console.progress("train", "epoch 2", 2.0)
    console.event("train", "done")
    shown = stream.getvalue().split("\r\x1b[2K")
    assert shown == ["", "      00:01 epoch 1", "      00:02 epoch 2", "[1/1] train: done\n"]
    assert max(map(len, shown)) <= 20
