"""What a model says of photos without a server, in a process of its own, and whether served answers equal it.

    python -m benchmarks.serving.offline --model_dir DIR --photos DIR

Prints one JSON object per photo and layout, since one photo alone on all cores and several side by side may
differ in their last digits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.limit import Bare

BOX_PX = 1.0
SCORE = 1e-2
ROUNDED = 1e-3  # of figures in JSON reports

Reference = dict[str, Any]


def main() -> None:
    """Print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--model_dir", type=Path, required=True, help="of either task")
    parser.add_argument("--photos", type=Path, required=True, help="folder of encoded photos")
    parser.add_argument("--precision", help="fp32, bf16 or int8 (default: the fastest that the card allows)")
    options = parser.parse_args()
    bare = Bare(options.model_dir, options.precision)
    for path in sorted(options.photos.iterdir()):
        print(json.dumps([reference(bare, path.read_bytes(), alone) for alone in (True, False)]))


def references(model_dir: Path, photos: Path, precision: str | None = None) -> list[list[Reference]]:
    """For each photo of a folder, by name, what a process without a server says of it in each layout."""
    command = [sys.executable, "-m", "benchmarks.serving.offline", "--model_dir", str(model_dir)]
    command += ["--photos", str(photos), *(["--precision", precision] if precision else [])]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def reference(bare: Bare, photo: bytes, alone: bool) -> Reference:
    """The answer about one photo under the names of the v2 outputs."""
    report = bare.report(photo, alone)
    if hasattr(report, "probabilities"):
        return {"count": int(report.count), "probabilities": report.probabilities.tolist()}
    return {
        "boxes": report.boxes.tolist(),
        "scores": report.scores.tolist(),
        "voids": [list(map(float, void.box)) for void in report.voids],
        "void_scores": [float(void.confidence) for void in report.voids],
        "osa": report.osa,
    }


def difference(answer: dict[str, Any], known: Sequence[Reference]) -> str:
    """How a served answer differs from all of `known`; nothing where it equals one of them."""
    found = [_difference(answer, one) for one in known]
    return "" if "" in found else found[0]


def _difference(answer: dict[str, Any], known: Reference) -> str:
    if "count" in known:
        gap = np.abs(np.ravel(answer["probabilities"]) - known["probabilities"]).max()
        count = int(np.ravel(answer["count"])[0])
        if count != known["count"] and gap < SCORE:  # two counts as probable as each other
            return ""
        return "" if gap <= SCORE + ROUNDED else f"a probability is {gap:.3f} off"
    if "products" in answer:  # a report, which holds no products
        return _report_difference(answer, known)
    return _boxes_differ(answer, known, "boxes", "scores") or _boxes_differ(
        answer, known, "voids", "void_scores"
    )


def _report_difference(report: dict[str, Any], known: Reference) -> str:
    if report["products"] != len(known["boxes"]):
        return f"{report['products']} products instead of {len(known['boxes'])}"
    voids = report["voids"]
    listed = {
        "voids": [void["box"] for void in voids],
        "void_scores": [void["confidence"] for void in voids],
    }
    return _boxes_differ(listed, known, "voids", "void_scores")


def _boxes_differ(answer: dict[str, Any], known: Reference, boxes: str, scores: str) -> str:
    ours, theirs = _rows(answer, boxes, scores), _rows(known, boxes, scores)
    if len(ours) != len(theirs):
        return f"{len(ours)} {boxes} instead of {len(theirs)}"
    if not len(ours):
        return ""
    # orders by score may differ where two are almost equal: each must have its counterpart
    near = np.abs(ours[:, None] - theirs[None]) <= np.array([BOX_PX + ROUNDED] * 4 + [SCORE + ROUNDED])
    pairs = near.all(axis=2)
    lonely = int((~pairs.any(axis=0)).sum() + (~pairs.any(axis=1)).sum())
    return f"{lonely} {boxes} without counterpart" if lonely else ""


def _rows(answer: dict[str, Any], boxes: str, scores: str) -> NDArray[np.float64]:
    """Boxes and scores as rows (n, 5)."""
    corners = np.asarray(answer[boxes], np.float64).reshape(-1, 4)
    return np.concatenate([corners, np.asarray(answer[scores], np.float64).reshape(-1, 1)], 1)


if __name__ == "__main__":
    main()
