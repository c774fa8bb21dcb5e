"""What the verbs of all groups have in common: a parser that teaches, and a line for what was written."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

Options = argparse.Namespace
Settings = TypeVar("Settings")


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


def add_setting_flags(
    parser: argparse.ArgumentParser,
    defaults: object,
    texts: Mapping[str, str],
    types: Mapping[str, type],
    more: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Add a flag for each of the named fields of a settings class; `read_settings` is the way back.

    Args:
        parser: of the verb.
        defaults: an instance of the class; a field's default, and its type, are those of its flag.
        texts: field name to what --help says of it.
        types: of the fields whose default is None.
        more: what else `add_argument` is told of a flag.
    """
    for name, text in texts.items():
        default = getattr(defaults, name)
        told: dict[str, Any] = {"default": default, "help": text, **(more or {}).get(name, {})}
        if isinstance(default, bool):
            told |= {"action": "store_false" if default else "store_true"}
        else:
            told |= {"type": types.get(name, type(default))}
        parser.add_argument(f"--{name.replace('_', '-')}", **told)


def read_settings(options: Options, kind: type[Settings]) -> Settings:
    """The settings that the parsed flags ask for; fields without a flag keep their default."""
    wanted = {field.name for field in fields(kind)} & vars(options).keys()  # type: ignore[arg-type]
    return kind(**{name: getattr(options, name) for name in wanted})


def say_written(folder: Path, *names: str) -> None:
    """Print the paths of files that a verb has written."""
    for name in names:
        print(folder / name)
