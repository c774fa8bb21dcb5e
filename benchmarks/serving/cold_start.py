"""From the start of a process to its first right answer, and its memory: our predictor and the tutorial's.

    python -m benchmarks.serving.cold_start --work runs/serving
    python -m benchmarks.serving.cold_start --models bin-counter --rounds 1

Both start in turn; a first round that fills the page cache is left out. A request is sent every 20 ms until
one is answered, and the answer must be the one that the same model gives without a server, within a tenth
of the products for the tutorial, which shrinks photos in another way. Memory is what the process and its
children keep resident after that answer, and after a load. Goals: a third of the time, .4 of the memory.
"""

import argparse
import statistics
from pathlib import Path

from benchmarks.serving.answers import figure_of, read_answer
from benchmarks.serving.http_client import HttpClient
from benchmarks.serving.limit import Bare
from benchmarks.serving.load import closed_loop, run
from benchmarks.serving.offline import reference
from benchmarks.serving.sections import save_section
from benchmarks.serving.servers import TUTORIAL, Running, Server, our_server, started, tutorial_server
from benchmarks.serving.ways import WAYS
from benchmarks.serving.workload import BINS, SHELVES, model_of, photos_of

GOAL_TIME, GOAL_MEMORY = 1 / 3, 0.4
LOAD_CONCURRENCY, LOAD_SECONDS = 8, 5.0
TOLERANCE = 0.1  # of the products

Figures = dict[str, float]


def main() -> None:
    """Start in turn, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--work", type=Path, default=Path("runs/serving"), help="(default: %(default)s)")
    parser.add_argument("--models", nargs="+", choices=(SHELVES, BINS), default=[SHELVES, BINS])
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--load_seconds", type=float, default=LOAD_SECONDS, help="(default: %(default)s)")
    options = parser.parse_args()
    rows = []
    for model in options.models:
        found = start_in_turn(model, options)
        rows += [_row(f"{model}, {name}", figures) for name, figures in found.items()]
        rows.append(_ratios(model, found))
    text = (
        f"Medians of {options.rounds} starts in turn. Goals: at most {GOAL_TIME:.2f} of the time and"
        f" {GOAL_MEMORY} of the memory."
    )
    save_section(options.work, "cold_start", text, rows)


def start_in_turn(model: str, options: argparse.Namespace) -> dict[str, list[Figures]]:
    """Figures of each round by server."""
    photos, model_dir = photos_of(options.work, model), model_of(options.work, model)
    expected = _offline(model_dir, photos[0])
    servers = [our_server(model, model_dir), tutorial_server(model, model_dir)]
    found: dict[str, list[Figures]] = {server.name: [] for server in servers}
    for number in range(options.rounds + 1):
        for server in servers:
            with started(server, photos[0], options.work / "logs") as running:
                _check(running, expected)
                figures = _figures(running, server, photos, options.load_seconds)
            print(f"{model} {server.name} {figures}", flush=True)
            if number:
                found[server.name].append(figures)
    return found


def _offline(model_dir: Path, photo: bytes) -> int:
    """What the model says without a server: products on a shelf, or items in a bin."""
    return figure_of(reference(Bare(model_dir), photo, alone=True))


def _check(running: Running, expected: int) -> None:
    answer = running.first_answer
    figure = figure_of(read_answer(running.server.way, answer.body, answer.headers))
    slack = TOLERANCE * expected if running.server.name == TUTORIAL else 0
    if abs(figure - expected) > slack:
        raise SystemExit(f"{running.server.name} finds {figure}, the model itself {expected}")


def _figures(running: Running, server: Server, photos: list[bytes], seconds: float) -> Figures:
    first = running.rss()
    messages = [WAYS[server.way](server.model, photo) for photo in photos]

    async def load() -> None:
        client = HttpClient(running.http_port)
        await closed_loop(client, messages, LOAD_CONCURRENCY, seconds)
        await client.close()

    run(load())
    return {"seconds": running.seconds_to_answer, "first_mb": first / 1e6, "loaded_mb": running.rss() / 1e6}


def _row(name: str, rounds: list[Figures]) -> dict[str, object]:
    middle = {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}
    return {
        "server": name,
        "start to first right answer": f"{middle['seconds']:.2f} s",
        "memory then": f"{middle['first_mb']:.0f} MB",
        "memory after a load": f"{middle['loaded_mb']:.0f} MB",
    }


def _ratios(model: str, found: dict[str, list[Figures]]) -> dict[str, object]:
    ours, theirs = found.values()
    ratio = {
        key: statistics.median(a[key] / b[key] for a, b in zip(ours, theirs, strict=True)) for key in ours[0]
    }
    return {
        "server": f"{model}, ratio",
        "start to first right answer": f"{ratio['seconds']:.2f}",
        "memory then": f"{ratio['first_mb']:.2f}",
        "memory after a load": f"{ratio['loaded_mb']:.2f}",
    }


if __name__ == "__main__":
    main()
