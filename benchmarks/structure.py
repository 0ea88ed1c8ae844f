"""The shape of the package in numbers: `python benchmarks/structure.py`.

Files and their median length, import circles, file names that stand twice, comprehensions for 1,000 statements, reads
of values by string key, and how far the chain travels: the files with a function that is handed the very object that
`optimize()` got, in a small offline run. `--each` names the files.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections import Counter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "langchain_promptopt"
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def parsed() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def density(trees: list[ast.Module]) -> float:
    """Comprehensions for 1,000 statements."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return 1000 * sum(isinstance(n, COMPREHENSIONS) for n in nodes) / sum(isinstance(n, ast.stmt) for n in nodes)


def key_reads(trees: list[ast.Module]) -> int:
    """Reads of a value by a string key: `value["key"]` and `value.get("key")`."""
    found = 0
    for tree in trees:
        for node in ast.walk(tree):
            key: ast.expr | None = None
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
                key = node.slice
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                key = next(iter(node.args), None)
            found += isinstance(key, ast.Constant) and isinstance(key.value, str)
    return found


class Walk:
    """Notes each function of the package that gets one object as an argument."""

    def __init__(self, wanted: object) -> None:
        self._wanted = wanted
        self.found: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Called by the interpreter at each call of a function."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(PACKAGE)):
            return
        given = frame.f_locals
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(given.get(name) is self._wanted for name in names):
            self.found[named(Path(code.co_filename))] += 1


def chain_walk() -> Counter[str]:
    """File -> calls that got the chain, in a run of the offline demo; receivers of methods (`self`) count, too."""
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    from langchain_promptopt import Budget, optimize
    from langchain_promptopt.offline import demo_prompt, demo_rows, offline_model

    chain = ChatPromptTemplate.from_template(demo_prompt()) | offline_model("task") | StrOutputParser()
    walk = Walk(chain)
    threading.setprofile(walk)
    sys.setprofile(walk)
    try:
        with TemporaryDirectory() as folder:
            optimize(
                chain,
                data=demo_rows(),
                evaluators=["exact_match"],
                optimizer_model="offline",
                budget=Budget(calls=1500),
                runs_dir=folder,
                openings=None,
            )
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return walk.found


def main() -> None:
    sys.path[:0] = [str(ROOT)]
    from tests.test_shape import IMPORTS, circles

    trees = parsed()
    names = Counter(path.name for path in trees if path.name != "__init__.py")
    lengths = [len(path.read_text("utf-8").splitlines()) for path in trees if path.name != "__init__.py"]
    print(f"files                          {len(trees)}")
    print(f"median lines                   {median(lengths):g}")
    print(f"import circles                 {len(circles(IMPORTS))}")
    print(f"file names that stand twice    {sum(n > 1 for n in names.values())}")
    print(f"comprehensions, 1,000 stmts    {density(list(trees.values())):.1f}")
    print(f"reads by string key            {key_reads(list(trees.values()))}")
    walked = chain_walk()
    print(f"files that the chain passes    {len(walked)}")
    if "--each" in sys.argv:
        for name, calls in sorted(walked.items()):
            print(f"  {name}: {calls}")
        for path, tree in sorted(trees.items(), key=lambda item: density([item[1]]), reverse=True)[:40]:
            print(f"  {density([tree]):6.1f}  {named(path)}")


if __name__ == "__main__":
    main()
