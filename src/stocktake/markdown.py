"""Short cards in markdown, which pipeline UIs show beside a step."""

from collections.abc import Mapping, Sequence

from stocktake.report import show


def card(
    title: str,
    text: str,
    facts: Mapping[str, object] | None = None,
    rows: Sequence[Mapping[str, object]] = (),
) -> str:
    """Return a heading, a paragraph, a list of facts and a table, leaving out what is empty."""
    parts = [f"# {title}", text]
    if facts:
        parts.append("\n".join(f"- {name}: {show(value)}" for name, value in facts.items()))
    if rows:
        parts.append(table(rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return the rows as a table under the names of the first one; `rows` is not empty."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([show(cell) for cell in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
