"""The gateway: python -m serving.gateway {serve,worker,migrate,expire,feedback,choose,token,dead}."""

import argparse
import sys
from collections.abc import Sequence

from serving.gateway import commands
from serving.gateway.access import Role
from serving.gateway.records.tables import Task
from serving.gateway.settings import load_gateway_settings
from serving.logs import configure_logging
from stocktake.errors import StocktakeError

EXAMPLES = """\
where things are is read from the environment, STOCKTAKE_GATEWAY_…; docs/gateway.md lists it

examples:
  a gateway for the predictors on port 8080; the first start prints a token:
    python -m serving.gateway serve --port 8000

  with a queue:
    export STOCKTAKE_GATEWAY_REDIS=redis://localhost:6379/0
    python -m serving.gateway worker &
    python -m serving.gateway serve

  a token for a camera, and one for the manager of one store:
    python -m serving.gateway token add camera-7 --role operator
    python -m serving.gateway token add anna --role operator --store "Main Street"

  every night:
    python -m serving.gateway expire
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and do what it says."""
    args = _parser().parse_args(argv)
    configure_logging()
    try:
        args.run(load_gateway_settings(), args)
    except StocktakeError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.gateway",
        description="Takes photos of shelves and bins over HTTP, has predictors answer them, remembers all.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    serve = verbs.add_parser("serve", help="answer HTTP requests until SIGTERM")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    serve.add_argument("--ssl_certfile", metavar="FILE", help="certificate; without one nothing is encrypted")
    serve.add_argument("--ssl_keyfile", metavar="FILE", help="its key")
    serve.add_argument(
        "--proxies", metavar="ADDRESSES", default="127.0.0.1",
        help="whose X-Forwarded-Proto is believed (default: %(default)s)",
    )  # fmt: skip
    serve.set_defaults(run=commands.serve)
    worker = verbs.add_parser("worker", help="answer the photos of the queue until SIGTERM")
    worker.add_argument(
        "--host", default="127.0.0.1", help="of its probes and metrics (default: %(default)s)"
    )
    worker.add_argument(
        "--port", type=int, default=9090, help="of /healthz, /readyz and /metrics (default: %(default)s)"
    )
    worker.set_defaults(run=commands.work)
    migrate = verbs.add_parser("migrate", help="bring the records' schema up to date; serve does so, too")
    migrate.set_defaults(run=commands.migrate)
    expire = verbs.add_parser("expire", help="delete photos and records whose time is over")
    expire.set_defaults(run=commands.expire)
    feedback = verbs.add_parser(
        "feedback", help="write what people said about photos to a file, for training"
    )
    feedback.add_argument(
        "--to", required=True, metavar="URI", help="file or s3:// object, such as feedback.jsonl"
    )
    feedback.set_defaults(run=commands.export)
    choose = verbs.add_parser(
        "choose", help="list the photos most worth labelling: disputed ones, unsure ones"
    )
    choose.add_argument(
        "--task", type=Task, choices=list(Task), default=Task.SHELVES, help="(default: %(default)s)"
    )
    choose.add_argument("--photos", type=int, default=200, help="at most (default: %(default)s)")
    choose.add_argument(
        "--to", required=True, metavar="URI", help="file or s3:// object, such as label.jsonl"
    )
    choose.set_defaults(run=commands.choose)
    _add_token(verbs.add_parser("token", help="who may use the gateway"))
    dead = verbs.add_parser("dead", help="list photos that were given up, or try them again")
    dead.add_argument("--retry", action="store_true", help="try all of them again; a worker takes them")
    dead.set_defaults(run=commands.dead)
    return parser


def _add_token(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a token and print it, which is done only once")
    add.add_argument("name", help="of whoever gets it")
    add.add_argument(
        "--role", type=Role, choices=list(Role), default=Role.VIEWER, help="(default: %(default)s)"
    )
    add.add_argument("--store", action="append", help="limit it to a store; may be repeated")
    add.set_defaults(run=commands.token_add)
    remove = actions.add_parser("remove", help="a token ends, and the sessions opened with it")
    remove.add_argument("name")
    remove.set_defaults(run=commands.token_remove)
    list_ = actions.add_parser("list", help="names and roles")
    list_.set_defaults(run=commands.token_list)


if __name__ == "__main__":
    main()
