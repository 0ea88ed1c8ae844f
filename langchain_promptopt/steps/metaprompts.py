"""Meta-prompts are content: one text file each, loaded once, versioned by hash.

A file's `$name` places are filled with values that are never parsed again, so rows and
replies with braces, dollars or tags arrive as they are.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from string import Template


@cache
def load(name: str) -> str:
    """The text of `metaprompts/<name>.txt`."""
    return (resources.files("langchain_promptopt") / "metaprompts" / f"{name}.txt").read_text("utf-8").strip()


def fill(name: str, **values: object) -> str:
    """The meta-prompt with its `$places` filled once; a missing value is a KeyError."""
    return Template(load(name)).substitute({k: str(v) for k, v in values.items()})


def section(name: str, body: str) -> str:
    r"""`body` between markers that cannot occur in it.

    >>> section("prompt", "Be brief.")
    '<prompt>\nBe brief.\n</prompt>'
    """
    tag = name
    while f"</{tag}>" in body.lower():
        tag = f"{name}-{hashlib.sha256((tag + body).encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
    return f"<{tag}>\n{body}\n</{tag}>"


@cache
def versions() -> dict[str, str]:
    """Content hash of every meta-prompt, for the run record."""
    folder = resources.files("langchain_promptopt") / "metaprompts"
    names = sorted(f.name.removesuffix(".txt") for f in folder.iterdir() if f.name.endswith(".txt"))
    return {n: hashlib.sha256(load(n).encode()).hexdigest()[:12] for n in names}
