"""How many small faults in modules of pure logic the unit tests notice.

    python benchmarks/mutation.py --mutants 120
    python benchmarks/mutation.py --modules bins --mutants 100
    python benchmarks/mutation.py --modules serving --mutants 100
    python benchmarks/mutation.py --modules monitoring/loss_rules --tests tests/unit/monitoring

Draws mutants from all places where an operator, a comparison, a number or a condition can be changed, runs
the tests of the mutated module on each in a copy of the package, and prints the share that made a test fail.
Fitted weights and the defaults and texts of signatures are left alone: no test should pin them.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
TESTS = {
    "boxes": ["boxes"],
    "shelf/level": ["tiers", "gaps"],
    "shelf/tiers": ["tiers", "gaps"],
    "shelf/gaps": ["gaps", "posts", "voids"],
    "shelf/empty_tiers": ["gaps", "voids"],
    "shelf/texture": ["texture"],
    "shelf/confidence": ["texture", "voids"],
    "shelf/voids": ["voids"],
    "shelf/void_scoring": ["void_scoring"],
    "shelf/holdout": ["holdout"],
    "monitoring/rule": ["monitoring/gradient_rules", "monitoring/loss_rules"],
    "monitoring/gradient_rules": ["monitoring/gradient_rules", "monitoring/results"],
    "monitoring/loss_rules": ["monitoring/loss_rules", "monitoring/results"],
    "monitoring/machine_rules": ["monitoring/machine_rules", "monitoring/results"],
    "monitoring/profiler_rules": ["monitoring/profiler_rules", "monitoring/results"],
    "bins/split": ["bins/split"],
    "bins/split_cells": ["bins/split"],
    "bins/split_hash": ["bins/split"],
    "bins/abid_groups": ["bins/abid_groups"],
    "bins/abid_ids": ["bins/abid_groups"],
    "bins/abid_metadata": ["bins/abid_metadata"],
    "bins/abid_selection": ["bins/abid_metadata", "bins/abid"],
    "serving/predictors/bodies": ["serving/bodies"],
    "serving/predictors/grpc_fields": ["serving/grpc_fields"],
    "serving/predictors/grpc_v2": ["serving/grpc_v2"],
    "serving/predictors/json_body": ["serving/rest_v1", "serving/rest_v2"],
    "serving/predictors/parameters": ["serving/rest_v2", "serving/grpc_v2"],
    "serving/predictors/protocol": ["serving/rest_v1", "serving/rest_v2", "serving/grpc_v2"],
    "serving/predictors/rest_v1": ["serving/rest_v1"],
    "serving/predictors/rest_v2": ["serving/rest_v2"],
    "serving/predictors/tensors": ["serving/tensors"],
}
COMPARED = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
COMPUTED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip
FITTED = ("WEIGHTS", "SHOPS")
TIMEOUT_S = 120


@dataclass(frozen=True)
class Mutant:
    """One changed place: module, line, what it says there before and after, and the whole changed source."""

    module: str
    line: int
    before: str
    after: str
    source: str


def main() -> None:
    """Sample, test, print."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--mutants", type=int, default=120, help="how many to draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="tests at a time (default: %(default)s)")
    parser.add_argument(
        "--modules", nargs="+", default=["boxes", "shelf"], metavar="MODULE",
        help="such as shelf/voids, or serving for all of them that have tests here (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--tests", nargs="+", type=Path, help="files or folders, for modules without tests here"
    )
    args = parser.parse_args()
    modules = chosen(args.modules)
    tests = {module: args.tests or test_files(module) for module in modules}
    places = [place for module in modules for place in places_in(module)]
    drawn = random.Random(args.seed).sample(places, min(args.mutants, len(places)))
    sample = [mutant_at(*place) for place in drawn]
    with ThreadPoolExecutor(args.workers) as pool:
        ran = pool.map(lambda mutant: is_killed(mutant, tests[mutant.module]), sample)
        killed = list(tqdm(ran, total=len(sample), unit="mutant"))
    for mutant, dead in zip(sample, killed, strict=True):
        if not dead:
            print(f"survived: {mutant.module}.py:{mutant.line}  {mutant.before}  ->  {mutant.after}")
    for module in modules:
        mine = [dead for mutant, dead in zip(sample, killed, strict=True) if mutant.module == module]
        print(f"{module:20} {sum(mine):3} of {len(mine):3} killed")
    share = sum(killed) / len(sample)
    print(f"{sum(killed)} of {len(sample)} mutants killed ({share:.0%}), drawn from {len(places)}")


def chosen(names: list[str]) -> list[str]:
    """The modules that were asked for, a group by its folder's name."""
    modules: list[str] = []
    for name in names:
        group = [module for module in TESTS if module.startswith(f"{name}/")]
        if not group and not _path(name).is_file():
            raise SystemExit(f"{name}: no such module; name it like shelf/voids")
        modules += group or [name]
    return modules


def test_files(module: str) -> list[Path]:
    """The test files that TESTS names for a module."""
    if module not in TESTS:
        raise SystemExit(f"{module}: name its tests with --tests")
    return [(ROOT / "tests/unit" / name).with_name(f"test_{Path(name).name}.py") for name in TESTS[module]]


def places_in(module: str) -> list[tuple[str, int]]:
    """All places of a module that can be changed: its name, and the number of the node in the syntax tree."""
    tree = _tree(module)
    left_alone = [node for node in ast.walk(tree) if _is_fitted(node)] + _annotations(tree)
    skipped = {id(node) for top in left_alone for node in ast.walk(top)}
    nodes = enumerate(ast.walk(tree))
    return [(module, number) for number, node in nodes if id(node) not in skipped and _change(node)]


def mutant_at(module: str, number: int) -> Mutant:
    """The module with one node changed."""
    tree = _tree(module)
    node = list(ast.walk(tree))[number]
    before, change = ast.unparse(node), _change(node)
    assert change is not None
    setattr(node, *change)
    return Mutant(module, getattr(node, "lineno", 0), before, ast.unparse(node), ast.unparse(tree))


def _path(module: str) -> Path:
    """Modules of serving are named from the root, all others within the library."""
    return (ROOT if module.startswith("serving/") else ROOT / "src/stocktake") / f"{module}.py"


def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_text())


def _annotations(tree: ast.Module) -> list[ast.expr]:
    """Types, which nothing looks at while it runs; those of arguments go with the signature."""
    fields = [node.annotation for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return fields + [node.returns for node in functions if node.returns is not None]


def _is_fitted(node: ast.AST) -> bool:
    """Whether no test should notice a change within the node."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return any(isinstance(t, ast.Name) and t.id.endswith(FITTED) for t in targets)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dataclass":
        return True
    told = isinstance(node, ast.keyword) and node.arg in ("strict", "kind", "description")
    return told or isinstance(node, ast.arguments | ast.Raise | ast.JoinedStr)


def _change(node: ast.AST) -> tuple[str, object] | None:
    """Field of the node to change and its new value, None where there is nothing to change."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        return "ops", [COMPARED[type(node.ops[0])](), *node.ops[1:]]
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in COMPUTED:
        return "op", COMPUTED[type(node.op)]()
    if isinstance(node, ast.BoolOp):
        return "op", ast.And() if isinstance(node.op, ast.Or) else ast.Or()
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return "value", not node.value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return "value", node.value + 1 if isinstance(node.value, int) else node.value * 2 + 0.1
    if isinstance(node, ast.UnaryOp):
        return "op", ast.UAdd()
    if isinstance(node, ast.If):
        return "test", ast.UnaryOp(ast.Not(), node.test)
    return None


def is_killed(mutant: Mutant, tests: list[Path]) -> bool:
    """Whether one of `tests` fails, or hangs, with the mutant in place."""
    with tempfile.TemporaryDirectory() as folder:
        source = ROOT / "serving" if mutant.module.startswith("serving/") else ROOT / "src/stocktake"
        package = Path(folder) / source.name
        shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__", "*.pt"))
        (package / _path(mutant.module).relative_to(source)).write_text(mutant.source)
        quick = ["-x", "-q", "-p", "no:cacheprovider", "-k", "not drawn", "-o", f"pythonpath={folder}"]
        command = [sys.executable, "-m", "pytest", *quick, *(str(path.absolute()) for path in tests)]
        # what is found first is imported, so the copy goes before the installed package
        path = os.pathsep.join([folder, str(ROOT), str(ROOT / "src")])
        env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        try:
            ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return True
        cannot_import = b"ImportError while loading conftest" in ran.stderr
        if ran.returncode not in (0, 1, 2) and not cannot_import:
            raise SystemExit(
                f"pytest could not run: {ran.stdout.decode()[-2000:]}{ran.stderr.decode()[-2000:]}"
            )
        return ran.returncode != 0


if __name__ == "__main__":
    main()
