"""What a benchmark leaves beside results.json for the report: a sentence and the rows of a table."""

import json
from collections.abc import Sequence
from pathlib import Path

from stocktake.markdown import table


def save_section(work: Path, name: str, text: str, rows: Sequence[dict[str, object]]) -> None:
    """Write WORK/NAME.json and print what it says.

    Args:
        work: made if needed.
        name: of the benchmark, with underscores.
        text: under which conditions.
        rows: of one table, at least one; all have the keys of the first.
    """
    work.mkdir(parents=True, exist_ok=True)
    (work / f"{name}.json").write_text(json.dumps({"text": text, "rows": list(rows)}, indent=1))
    print(f"{text}\n{table(rows)}")
