"""Run everything on this machine without a container engine: python -m serving.up, or `make up`."""

import argparse
import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import honcho.manager
from honcho.environ import parse_procfile

from serving.gateway.access import Role, add_token, remove_token
from serving.up.variables import GATEWAY, MODELS, ROOT, absent, has_model, missing_models, variables, write
from stocktake.errors import SettingsError, StocktakeError
from stocktake.file_lock import try_lock

STOP_S = 45  # that processes have to end in; a worker finishes its photos
LOOK_S = 0.5
TOKEN = "make-up"  # the name of the token that is made anew at each start


def main(argv: Sequence[str] | None = None) -> None:
    """Run the processes of the Procfile until Ctrl-C, or until one of them ends."""
    args = _parser().parse_args(argv)
    try:
        with _own(args.data.absolute()) as data:
            left_out = dict.fromkeys(args.without, "left out, as you say") | absent()
            models = {name: getattr(args, name) for name in MODELS}
            for line in (*missing_models(models), *(f"{name}: {why}" for name, why in left_out.items())):
                print(line, flush=True)
            code = _run(variables(args, data, left_out), data, left_out)
    except StocktakeError as error:
        raise SystemExit(f"error: {error}") from None
    raise SystemExit(0 if code in (130, 143) else code)  # Ctrl-C and SIGTERM are how it ends


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.up",
        description="Run the gateway and all that it needs on this machine, until Ctrl-C. Variables "
        f"{GATEWAY}… that are set already win, such as {GATEWAY}REDIS=redis://host:6379/0.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", metavar="DIR", type=Path, default=Path("runs/up"), help="what is kept")
    for name, (folder, _, _) in MODELS.items():
        parser.add_argument(f"--{name}", metavar="DIR", type=Path, default=folder, help="model dir")
    parser.add_argument("--port", type=int, default=8000, help="of page and API; 0 takes a free one")
    parser.add_argument("--mlflow-port", metavar="PORT", type=int, default=5000, help="0 takes a free one")
    parser.add_argument(
        "--mlflow-database", metavar="FILE", type=Path, default=Path("runs/mlflow.db"), help="its SQLite file"
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=("redis", "mlflow"), help="leave it out"
    )
    return parser


@contextlib.contextmanager
def _own(data: Path) -> Iterator[Path]:
    """The folder of what is kept, for this process alone."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock:
        if not try_lock(lock.fileno()):
            raise SettingsError(f"--data {data}: another one runs there; stop it, or take another folder")
        yield data


def _run(environment: Mapping[str, str], data: Path, left_out: Mapping[str, str]) -> int:
    honcho.manager.KILL_WAIT = STOP_S
    manager = honcho.manager.Manager()
    for name, command in parse_procfile((ROOT / "Procfile").read_text()).processes.items():
        can_run = name != "worker" or f"{GATEWAY}REDIS" in environment
        if name not in left_out and can_run:
            manager.add_process(name, command, env=dict(environment), cwd=str(ROOT))
    token = _new_token(Path(environment[f"{GATEWAY}TOKENS"]))
    # A terminal that is closed ends it, too: the processes, in sessions of their own, hear nothing of it.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    ended = threading.Event()
    threading.Thread(
        target=_announce, args=(environment, token, data / "up.json", ended), daemon=True
    ).start()
    try:
        manager.loop()
    finally:
        ended.set()
        (data / "up.json").unlink(missing_ok=True)
    return int(manager.returncode or 0)


def _new_token(tokens: Path) -> str:
    """A token of an administrator in place of that of the last start."""
    if tokens.exists():
        with contextlib.suppress(SettingsError):
            remove_token(tokens, TOKEN)
    return add_token(tokens, TOKEN, Role.ADMIN)


def _announce(environment: Mapping[str, str], token: str, path: Path, ended: threading.Event) -> None:
    """Tell that everything answers, when it does: on the terminal, and other programs by a file."""
    url = f"http://127.0.0.1:{environment['UP_PORT']}"
    tasks = [task for task in MODELS if has_model(environment, task)]
    while not ended.wait(LOOK_S):
        try:
            with urlopen(f"{url}/readyz", timeout=5) as answer:
                parts = json.load(answer)
        except (URLError, OSError, ValueError):
            continue
        if all(parts[task] for task in tasks) and not ended.is_set():
            told = {"url": url, "token": token, "predictor": environment[f"{GATEWAY}SHELVES_URL"]}
            write(path, json.dumps(told | {"redis": environment.get(f"{GATEWAY}REDIS")}))
            print(f"\n  {url}\n  token: {token}\n  Ctrl-C ends it\n", flush=True)
            return


if __name__ == "__main__":
    main()
