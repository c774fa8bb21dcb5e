"""What the verbs of all groups have in common: a parser that teaches, and a line for what was written."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

Options = argparse.Namespace


def add_verb(
    group: str, verbs: Any, name: str, run: Callable[[Options], None], text: str, example: str
) -> argparse.ArgumentParser:
    """Add a verb to the subparsers of its group.

    Args:
        group: shelf or bins.
        verbs: subparsers of the group.
        name: of the verb.
        run: what it does, given the parsed arguments.
        text: one line for --help, beginning with a small letter, without a full stop.
        example: arguments of a call that works.
    """
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"Example: stocktake {group} {name} {example}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def say_written(folder: Path, *names: str) -> None:
    """Print the paths of files that a verb has written."""
    for name in names:
        print(folder / name)
