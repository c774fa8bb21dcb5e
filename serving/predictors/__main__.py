"""Serve trained models: python -m serving.predictors --model_name NAME --model_dir DIR."""

import argparse
import logging
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from stocktake.errors import SettingsError, StocktakeError
from stocktake.model_card import ModelCard, verify_sums

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


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, load the models and serve them until a signal comes."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        model_dirs = _model_dirs(args)
        for flag in ("http_port", "grpc_port"):
            _check_port(flag, getattr(args, flag))
        if args.threads is not None and args.threads < 1:
            raise SettingsError(f"--threads {args.threads}: give 1 or more")
        for model_dir in model_dirs.values():
            verify_sums(model_dir)
        # KServe takes seconds to import and parses the command line meanwhile, so our own errors come first.
        from serving.predictors.server import load_models, serve

        serve(load_models(model_dirs, args.threads), args.http_port, args.grpc_port)
    except StocktakeError as error:
        raise SystemExit(f"error: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.predictors",
        description="Serve model dirs over the Open Inference Protocol v2 (REST and gRPC) and KServe's v1. "
        "What a model is comes from its model_card.json.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model_name", metavar="NAME", help="name in URLs (default: the task in the card)")
    parser.add_argument("--model_dir", metavar="DIR", type=Path, help="model dir (default: /mnt/models)")
    parser.add_argument(
        "--model", metavar="NAME=DIR", action="append", default=[], help="one more model; may be repeated"
    )
    parser.add_argument("--http_port", metavar="PORT", type=int, default=8080, help="REST (default: 8080)")
    parser.add_argument("--grpc_port", metavar="PORT", type=int, default=8081, help="gRPC (default: 8081)")
    parser.add_argument(
        "--threads", metavar="N", type=int, help="CPU threads to use (default: one for each core)"
    )
    return parser


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


def _check_port(flag: str, port: int) -> None:
    """Raise SettingsError if nothing can listen on a port."""
    if not 0 < port < 65536:
        raise SettingsError(f"--{flag} {port}: give a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as error:
            raise SettingsError(f"--{flag} {port}: {error.strerror}; choose another port") from error


if __name__ == "__main__":
    main()
