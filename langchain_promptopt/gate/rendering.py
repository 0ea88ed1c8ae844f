"""The gate in words: points for people, 0-1 in machine output."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_promptopt.gate.planning import Feasibility
    from langchain_promptopt.gate.verdict import Decision, TestEntry

_VERDICTS = {
    "improved": "Improved",
    "inconclusive": "Inconclusive",
    "no_gain": "No gain",
    "void": "No verdict",
}


def points(difference: float) -> str:
    """A difference in points, with its sign.

    >>> points(0.0625), points(-0.0004)
    ('+6.2', '0.0')
    """
    shown = f"{difference * 100:+.1f}"
    return shown if float(shown) else "0.0"


def p_text(p: float) -> str:
    """A p-value as people write it.

    >>> p_text(0.0041), p_text(0.00004)
    ('p = 0.004', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def evidence(entry: TestEntry) -> str:
    """One line: difference, interval, clusters better, worse and the same, p."""
    unit = "rows" if entry.clusters == entry.n else "groups"
    level = f"{(1 - 2 * entry.alpha) * 100:.4g}"
    low, high = (points(limit) for limit in entry.interval)
    counts = f"{entry.wins} {unit} better, {entry.losses} worse, {entry.ties} same"
    return f"{points(entry.difference)} points ({level} % interval {low} to {high}), {counts}; {p_text(entry.p_value)}"


def verdict_line(decision: Decision) -> str:
    """The decision in one line."""
    title = _VERDICTS[decision.verdict]
    if not decision.entries:
        return f"{title}: {decision.reason}."
    return f"{title}: {decision.reason}. {evidence(decision.entries[0])}."


def power_table(able: Feasibility) -> str:
    """What the split can show, as a Markdown table."""
    lines = ["| true gain | chance to pass |", "|---|---|"]
    lines += [f"| {chance.gain * 100:g} points | {chance.power * 100:.0f} % |" for chance in able.table]
    return "\n".join(lines)


def what_it_can_show(able: Feasibility) -> str:
    """What the split can show, in one or two sentences."""
    look = f" At opening {able.opening} of these rows p must be below {able.alpha:.2g}." if able.opening > 1 else ""
    if not able.possible:
        return f"This gate cannot pass: {able.reason}. Nothing will be applied by itself."
    least = able.minimum_detectable_effect
    if least is None:
        return f"{able.clusters} test rows find no gain reliably.{look}"
    assumed = f"if the prompts differ on {able.discordance * 100:.0f} % of the rows"
    return f"{able.clusters} test rows find a gain of {least * 100:.0f} points or more 4 times in 5, {assumed}.{look}"
