"""R1-R6 of algorithms 6.6, answered by the planted world: what was asked, what was measured, whether it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.planted_world.experiments import BUDGETS, OURS
from benchmarks.planted_world.planted_report import difference, find, needs_of, signed, speed, steps_to_best
from benchmarks.planted_world.standings import DEFAULT, best_published, worlds_of
from langchain_promptopt.bench.planted import Interval, mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.planted_world.planted_report import Line
    from benchmarks.planted_world.shuffled import FalsePositives

_HOSTS = (("APE", "ape-iter", "lpo-ape"), ("APO", "apo-pe2", "lpo-apo"), ("PE2", "pe2", "lpo-pe2"))

Row = tuple[str, str, str]


_SAME = 5e-4


def verdict(found: Interval, *, above: float = 0.0) -> str:
    """What an interval says of "is no less than `above`".

    >>> [verdict(Interval(m, m - 0.2, m + 0.2, 9)) for m in (0.3, 0.1, 0.0, -0.1, -0.3)]
    ['holds', 'holds in the mean only', 'no difference', 'other way in the mean only', 'does not hold']
    """
    if found.low > above:
        return "holds"
    if found.high < above:
        return "does not hold"
    if abs(found.mean - above) < _SAME:
        return "no difference"
    return "holds in the mean only" if found.mean > above else "other way in the mean only"


def as_table(rows: Sequence[Row]) -> str:
    """Markdown."""
    body = "\n".join(f"| {asked} | {measured} | {said} |" for asked, measured, said in rows)
    return f"| asked | measured | reading |\n|---|---|---|\n{body}"


def local_rows(lines: Sequence[Line]) -> list[Row]:
    """R1, R2, and the claim of so many times faster."""
    out: list[Row] = []
    for world in worlds_of(lines):
        for host, whole, local in _HOSTS:
            a, b = find(lines, f"{world} / {local}"), find(lines, f"{world} / {whole}")
            gain = difference(a, b)
            fewer = difference(b, a, lambda t: float(steps_to_best(t)))
            says = verdict(Interval(-gain.mean, -gain.high, -gain.low, gain.n)) if world == "rewrite" else verdict(gain)
            asked = f"`{local}` below `{whole}`" if world == "rewrite" else f"R1 {host}: `{local}` above `{whole}`"
            out.append((f"{asked} in `{world}`", signed(gain), says))
            if world != "rewrite":
                steps = f"{mean([steps_to_best(t) for t in a.traces]):.1f} against "
                steps += f"{mean([steps_to_best(t) for t in b.traces]):.1f}; fewer by {signed(fewer)}"
                out.append((f"R2 {host}: no more steps to best in `{world}`", steps, verdict(fewer)))
    return [*out, *_faster(lines)]


def _faster(lines: Sequence[Line]) -> list[Row]:
    from benchmarks.planted_world.experiments import PAIRS

    needs = [
        n
        for host, twin in PAIRS
        for n in needs_of(
            list(zip(find(lines, f"long / {host}").traces, find(lines, f"long / {twin}").traces, strict=True))
        )
    ]
    if not needs:
        return [("local sooner at global's final score in `long`", "no host left its start", "not measured")]
    asked = "local sooner (a ratio above 1; a summary claims 3.4) at global's final held-out score in `long`, all hosts"
    steps, calls = speed(needs, 0), speed(needs, 1)
    out = [(f"{asked}: steps", f"{steps} times fewer, {len(needs)} runs", verdict(steps, above=1.0))]
    return [*out, (f"{asked}: calls", f"{calls} times fewer", verdict(calls, above=1.0))]


def gpo_rows(lines: Sequence[Line]) -> list[Row]:
    """R3 and R4."""
    base = find(lines, "gpo")
    asked = (
        ("R3: relevance no worse than no memory", "no memory"),
        ("R4: cosine no worse than no control", "no control"),
        ("R4: warm-up not better", "cosine, warm-up 3"),
    )
    out = []
    for text, other in asked:
        found = difference(base, find(lines, other))
        out.append((text, signed(found), verdict(found)))
    return out


def gap_rows(lines: Sequence[Line]) -> list[Row]:
    """R5."""
    out = []
    for world in worlds_of(lines):
        ours, theirs = (find(lines, f"{world} / {m}") for m in (DEFAULT, "lpo-pe2"))
        smaller = difference(theirs, ours, lambda t: t.dev - t.test)
        out.append((f"R5: smaller dev-test gap than `lpo-pe2` in `{world}`", signed(smaller), verdict(smaller)))
    return out


def half_rows(lines: Sequence[Line]) -> list[Row]:
    """The default at half the calls of the best published loop, which is picked after the fact."""
    out = []
    for world in worlds_of(lines):
        for budget in BUDGETS[1:]:
            rival = best_published(lines, world, budget)
            found = difference(
                find(lines, f"{world} / {DEFAULT}", budget // 2), find(lines, f"{world} / {rival}", budget)
            )
            said = "reaches it" if found.mean >= -_SAME else ("within its interval" if found.high >= 0 else "does not")
            out.append((f"`{world}`: {budget // 2:,} calls reach `{rival}` at {budget:,}", signed(found), said))
    return out


def shuffled_rows(found: Mapping[str, FalsePositives]) -> list[Row]:
    """R6."""
    return [
        (
            f"R6: `{method}` on shuffled labels passes no more often than {f.level:g}",
            f"{f.passed} of {f.runs} runs passed, {f.changed} changed the prompt; P(so many or more) = {f.tail:.2f}",
            "holds" if f.tail > 0.05 else "does not hold",
        )
        for method, f in found.items()
    ]


def behind(lines: Sequence[Line]) -> list[str]:
    """Where some preset is ahead of the default in the mean, at the same calls."""
    out = []
    for world in worlds_of(lines):
        for budget in BUDGETS:
            ours = find(lines, f"{world} / {DEFAULT}", budget)
            ahead = {
                x.name.split(" / ")[1]: difference(x, ours)
                for x in lines
                if x.budget == budget and x.name.startswith(f"{world} / ") and x.test.mean > ours.test.mean + _SAME
            }
            told = ", ".join(f"`{m}`{' (new)' if m in OURS else ''} {signed(d)}" for m, d in ahead.items())
            if told:
                out.append(f"- `{world}` at {budget:,} calls: {told}")
    return out
