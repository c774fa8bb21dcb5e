"""What verbs have in common, those that take a pipeline above all."""

import argparse
from pathlib import Path
from typing import Any

from pipelines.catalogue import PIPELINES, Pipeline, find
from pipelines.parameters import read_file, split_assignments


def new_verb(verbs: Any, name: str, text: str, examples: str = "") -> argparse.ArgumentParser:
    """Add a verb to a parser's subparsers; `text` is its help and, as a sentence, its description."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_verb(verbs: Any, name: str, text: str, examples: str) -> argparse.ArgumentParser:
    """Add a verb that takes a pipeline and its parameters."""
    parser = new_verb(verbs, name, text, examples)
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(PIPELINES)}")
    parser.add_argument(
        "--params", type=Path, metavar="FILE", help="YAML file of parameters, as in pipelines/params"
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one parameter; wins over FILE; repeatable",
    )
    return parser


def asked_for(options: argparse.Namespace, here: bool) -> tuple[Pipeline, dict[str, Any]]:
    """The pipeline that was named and a checked value for each parameter; `here` as in `Pipeline.arguments`.

    Raises:
        SettingsError, DataError, ModelError: as `find` and `Pipeline.arguments` do.
    """
    pipeline = find(options.name)
    values = read_file(options.params) if options.params else {}
    return pipeline, pipeline.arguments(values, split_assignments(options.param), here)
