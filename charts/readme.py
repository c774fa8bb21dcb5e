"""Write the table of values into the README of the chart, from the comments of values.yaml.

A comment right above a key is the line of that key and of all that it holds; a key without one stands for its
children. Run `python -m charts.readme` after a change.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "platform"
START, END = "<!-- values: python -m charts.readme -->", "<!-- end of values -->"


def renewed(page: str) -> str:
    """The page with the table of the values as they are now.

    Raises:
        ValueError: the page lacks one of the two marks between which the table stands.
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"the README has no {START} … {END}")
    return f"{before}{START}\n\n{_table()}\n\n{END}{after}"


def _table() -> str:
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    rows = [
        f"| `{path}` | `{json.dumps(_at(values, path), ensure_ascii=False)}` | {line} |"
        for path, line in _comments(text).items()
        if "." in path or not isinstance(_at(values, path), dict)
    ]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows])


def _comments(text: str) -> dict[str, str]:
    """Each key that has a comment, by its path such as `mlflow.image`, in the order of the file."""
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        key = re.match(r"( *)([A-Za-z][\w-]*):", line)
        if line.strip().startswith("#"):
            comment.append(line.strip(" #"))
        elif key:
            indent = len(key[1])
            parents = [each for each in parents if each[0] < indent] + [(indent, key[2])]
            if comment:
                found[".".join(name for _, name in parents)] = " ".join(comment)
            comment = []
        else:
            comment = []
    return found


def _at(values: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values


if __name__ == "__main__":
    readme = CHART / "README.md"
    readme.write_text(renewed(readme.read_text()))
