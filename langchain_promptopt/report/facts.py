"""How a run was set up, in words: its gate and the version of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_promptopt.report.wording import points

if TYPE_CHECKING:
    from collections.abc import Mapping

_HASH = 12


def gate_words(gate: Mapping[str, Any], evaluators: tuple[str, ...] = ()) -> str:
    """The rules of the test in one sentence.

    >>> gate_words({"primary": "em", "alpha": 0.05, "guards": {"policy": 0.05}, "repeats": 2, "min_improvement": 0.01})
    'em decides, level 0.05; the gain must exceed 1.0 points; policy may lose 5.0 points; each row 2 times'
    """
    weights = gate.get("weights") or {}
    decides = " and ".join(f"{name} ({share:g})" for name, share in weights.items())
    decides = decides or gate.get("primary") or next(iter(evaluators), "the first metric")
    said = [f"{decides} decides, level {gate.get('alpha', 0.05):g}"]
    if gate.get("min_improvement"):
        said.append(f"the gain must exceed {points(gate['min_improvement'])} points")
    said += [f"{name} may lose {points(margin)} points" for name, margin in (gate.get("guards") or {}).items()]
    if (gate.get("repeats") or 1) > 1:
        said.append(f"each row {gate['repeats']} times")
    return "; ".join(said)


def data_words(data: Mapping[str, Any]) -> str:
    """Where the rows came from, which version, and how many there were.

    >>> data_words({"source": "rows.jsonl", "as_of": "sha256:0123456789abcdef", "splits": {"train": 8, "test": 9}})
    'rows.jsonl, version sha256:0123456789ab; train 8, test 9'
    """
    version = str(data.get("as_of") or "")
    kind, colon, digest = version.partition(":")
    if colon and kind == "sha256":
        version = f"{kind}:{digest[:_HASH]}"
    source = f"{data.get('source', 'unknown source')}{f', version {version}' if version else ''}"
    splits = ", ".join(f"{name} {n}" for name, n in (data.get("splits") or {}).items())
    return f"{source}; {splits}" if splits else source
