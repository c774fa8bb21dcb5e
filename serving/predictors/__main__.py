"""Serve trained models: python -m serving.predictors --model_name NAME --model_dir DIR."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from serving.logs import configure_logging
from serving.predictors.loading import opening
from serving.predictors.placeholders import placeholders
from serving.predictors.settings import ServerSettings, read_token
from stocktake.errors import SettingsError, StocktakeError
from stocktake.model_card import ModelCard

EXAMPLES = """\
examples:
  serve the demo's champion, REST on 8080 and gRPC on 8081:
    python -m serving.predictors --model_name shelf-detector --model_dir runs/demo/model

  two models from one process, on other ports:
    python -m serving.predictors --model shelves=runs/demo/model --model night=runs/night/model \\
        --http_port 9000 --grpc_port 9001

  ask it:
    curl localhost:8080/v2/health/ready
    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' \\
        localhost:8080/v1/models/shelf-detector:predict
"""


# Flag: type, unit, what it is; defaults are those of ServerSettings.
FLAGS: dict[str, dict[str, tuple[Any, str, str]]] = {
    "network": {
        "http_port": (int, "PORT", "REST"),
        "grpc_port": (int, "PORT", "gRPC"),
        "ssl_certfile": (Path, "FILE", "certificate for REST and gRPC; without one they are not encrypted"),
        "ssl_keyfile": (Path, "FILE", "its key"),
    },
    "who may ask": {
        "token_file": (
            Path,
            "FILE",
            "file with the bearer token that requests must carry; without, anybody may",
        ),
        "admin_token_file": (
            Path,
            "FILE",
            "file with the token to load and unload models; without, nobody may",
        ),
    },
    "limits": {
        "threads": (int, "N", "CPU threads to use; one for each core if not given"),
        "max_body_bytes": (int, "BYTES", "largest request"),
        "max_bodies_bytes": (int, "BYTES", "all requests at a time"),
        "workers": (int, "N", "processes: 1, which uses all cores or the GPU; run more replicas for more"),
        "max_connections": (int, "N", "REST connections at a time, and gRPC calls"),
        "max_requests": (int, "N", "requests at a time, waiting or worked on (default: 48 or more)"),
        "deadline_seconds": (float, "S", "a request that takes longer is answered with 504"),
        "drain_seconds": (float, "S", "how long it still answers after SIGTERM, not ready"),
        "grace_seconds": (float, "S", "how long it then waits for what it has accepted"),
    },
}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, load the models and serve them until a signal comes."""
    args = _parser().parse_args(argv)
    configure_logging()
    try:
        model_dirs = _model_dirs(args)
        settings = _settings(args)
        for model_dir in model_dirs.values():
            ModelCard.read(model_dir)
        # KServe takes a second to import and parses the command line meanwhile, so our own errors come first.
        with opening(model_dirs, settings.threads) as opened, placeholders():
            from serving.predictors.server import serve
        serve(model_dirs, opened, settings)
    except StocktakeError as error:
        raise SystemExit(f"error: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.predictors",
        description="Serve model dirs over the Open Inference Protocol v2 (REST and gRPC) and KServe's v1. "
        "What a model is comes from its model_card.json. SIGTERM drains, SIGHUP loads the model dirs again.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    models = parser.add_argument_group("models")
    models.add_argument("--model_name", metavar="NAME", help="name in URLs (default: the task in the card)")
    models.add_argument("--model_dir", metavar="DIR", type=Path, help="model dir (default: /mnt/models)")
    models.add_argument(
        "--model", metavar="NAME=DIR", action="append", default=[], help="one more model; may be repeated"
    )
    known = {field.name: field for field in fields(ServerSettings)}
    for title, flags in FLAGS.items():
        group = parser.add_argument_group(title)
        for flag, (kind, unit, text) in flags.items():
            default = known[flag].default if flag in known else None
            shown = f" (default: {default})" if isinstance(default, int | float) else ""
            # Those that are not given are left out, and the settings' own defaults hold.
            group.add_argument(
                f"--{flag}", metavar=unit, type=kind, default=argparse.SUPPRESS, help=text + shown
            )
    return parser


def _settings(args: argparse.Namespace) -> ServerSettings:
    given = {field.name: getattr(args, field.name) for field in fields(ServerSettings) if field.name in args}
    for name in ("token", "admin_token"):
        flag = f"{name}_file"
        given[name] = read_token(flag, getattr(args, flag, None))
    return ServerSettings(**given)


def _model_dirs(args: argparse.Namespace) -> dict[str, Path]:
    named = []
    if args.model_name or args.model_dir or not args.model:
        model_dir = args.model_dir or Path("/mnt/models")
        named.append((args.model_name or ModelCard.read(model_dir).task, model_dir))
    for pair in args.model:
        name, separator, folder = pair.partition("=")
        if not separator or not folder:
            raise SettingsError(f"--model {pair}: give NAME=DIR, for example shelves=runs/demo/model")
        named.append((name, Path(folder)))
    for name, _ in named:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise SettingsError(f"model name '{name}': use letters, digits, '.', '_' and '-'")
        if sum(name == other for other, _ in named) > 1:
            raise SettingsError(f"model name '{name}': given twice; each model needs its own")
    return dict(named)


if __name__ == "__main__":
    main()
