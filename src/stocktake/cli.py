"""The `stocktake` program: one group of verbs per kind of photo.

Verbs only read their arguments here; the work is a library function that pipelines call too.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version

from stocktake.bins import commands as bins_commands
from stocktake.program import run_program
from stocktake.shelf import commands as shelf_commands


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole program; each leaf sets `run`, a function of the parsed arguments."""
    parser = argparse.ArgumentParser(
        prog="stocktake",
        description="Find what is missing on a supermarket shelf, and count what is in a bin, from a photo.",
        epilog="First steps: `stocktake shelf draw --out photos`, `stocktake shelf train --data photos`.",
    )
    parser.add_argument("--version", action="version", version=f"stocktake {version('stocktake')}")
    parser.add_argument(
        "--verbose", action="store_true", help="log what is done in detail, and show tracebacks"
    )
    groups = parser.add_subparsers(title="groups", metavar="GROUP", required=True)
    shelf_commands.add_to(groups)
    bins_commands.add_to(groups)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status: 0 done, 1 an error that the user can fix, 130 stopped."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s" if options.verbose else "%(message)s",
    )
    hint = "the same command continues where it was"
    return run_program("stocktake", lambda: options.run(options), hint)


if __name__ == "__main__":
    sys.exit(main())
