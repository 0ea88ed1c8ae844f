"""Literals that stand indented in the source: `dedent(\"\"\"...\"\"\")` and `cleandoc(\"\"\"...\"\"\")`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNINDENT: Mapping[str, Callable[[str], str]] = {"dedent": textwrap.dedent, "cleandoc": inspect.cleandoc}
"""Functions that take a margin off, by the name they are called by."""


def unindented(tree: ast.AST) -> dict[int, str]:
    """Literals (by id of their node) that are taken a margin off -> the function's name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) == 1:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in UNINDENT and isinstance(node.args[0], ast.Constant):
                found[id(node.args[0])] = name
    return found


def indented(value: str, old: str, new: str, how: str) -> str | None:
    r"""The literal's value that gives `new` where `value` gives `old`; None where no margin can say it.

    >>> indented("  Be {x}.\n  So.\n", "Be {x}.\nSo.", "Go {x}.\nSo.", "dedent")
    '  Go {x}.\n  So.\n'
    """
    lines, wanted = value.split("\n"), new.strip("\n").split("\n")
    full = [i for i, line in enumerate(lines) if line.strip()]
    if not full or not wanted[0].strip():
        return None
    first, last = full[0], full[-1]
    bare_start = how == "cleandoc" and first == 0
    with_margin = [lines[i] for i in full if i or not bare_start]
    margin = min((line[: len(line) - len(line.lstrip())] for line in with_margin), key=len, default="")
    body = [(margin if line.strip() and (i or not bare_start) else "") + line for i, line in enumerate(wanted)]
    made = "\n".join([*lines[:first], *body, *lines[last + 1 :]])
    before, _, after = UNINDENT[how](value).partition(old)
    return made if UNINDENT[how](made) == f"{before}{new}{after}" else None
