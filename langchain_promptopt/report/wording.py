"""Numbers, verdicts and values of rows in plain words, said once for every format."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from langchain_promptopt.events import Applied, Pushed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.report.record import Health, RunRecord, SuspectRow
    from langchain_promptopt.types import StopKind


def as_text(value: Any) -> str:
    """A row's value for people: texts as they are, a single field by itself, the rest as JSON.

    >>> as_text({"label": "billing"}), as_text({"a": 1, "b": None}), as_text(None)
    ('billing', '{"a": 1, "b": null}', '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        return as_text(next(iter(value.values())))
    return json.dumps(value, ensure_ascii=False, default=str)


_HEADLINES = {
    "improved": ("good", "Improved", "The new prompt scores higher on held-out examples, which the search never saw."),
    "inconclusive": ("unsure", "Not proven", "The held-out examples do not decide; the old prompt stays."),
    "no_gain": ("flat", "No gain", "The new prompt brings no gain worth having; the old prompt stays."),
    "budget": ("stopped", "Budget spent", "The budget ended before there was a verdict."),
    "interrupted": ("stopped", "Interrupted", "The run was stopped; `promptopt resume` goes on without paying twice."),
    "failed": ("bad", "Failed", "The run ended with an error."),
}
_DEMANDS = {
    "must_pass_broken": "The new prompt gets an example wrong that must pass; the old prompt stays.",
    "must_pass_not_shown": "An example that must pass could not be scored; the old prompt stays.",
}
"""Sentences in place of the outcome's, by the kind of the gate's reason."""
_ENDS: Mapping[StopKind, str] = {
    "steps": "its steps were used up",
    "budget": "its budget was used up",
    "plateau": "it no longer gained",
    "overfitting": "it began to overfit",
    "saturated": "there was no room left to gain",
    "few_errors": "there were too few errors to learn from",
    "nothing_left": "there were no errors to learn from",
    "custom": "its stopping rule said so",
}
_TONES = {
    **dict.fromkeys(("improved", "held", "ok"), "good"),
    **dict.fromkeys(("inconclusive", "warning"), "unsure"),
    **dict.fromkeys(("no gain", "broken"), "bad"),
}
_IDENTITY = re.compile(r"\w+:([^@\s]+)@[^{,\s]*(?:\{.*?\})?")
_RUNNING = ("stopped", "Not finished", "There is no verdict yet; `promptopt resume` goes on without paying twice.")


@dataclass(frozen=True)
class Headline:
    """The verdict as people read it. `tone` is one of good, unsure, flat, stopped, bad."""

    tone: str
    title: str
    sentence: str
    proof: str
    ended: str = ""
    """Why the search ended; "" where there was none."""


def headline(record: RunRecord) -> Headline:
    """The first thing every report says."""
    tone, title, sentence = _HEADLINES.get(record.outcome or "", _RUNNING)
    if record.outcome in {"inconclusive", "no_gain"} and record.seed_id == record.best_id:
        sentence = "The search found nothing better than the prompt you have."
    if record.reason is not None and record.outcome in {"inconclusive", "no_gain"}:
        sentence = _DEMANDS.get(record.reason.kind, sentence)
    if record.error:
        again = " `promptopt resume` goes on without paying twice." if record.retryable else ""
        return Headline(tone, title, f"{sentence}{again}", record.error, search_end(record))
    return Headline(tone, title, sentence, evidence(record), search_end(record))


def brief(outcome: str, test: Sequence[Mapping[str, Any]], edits: int) -> str:
    """A result in half a line.

    Args:
        outcome: How the run ended.
        test: The gate's table, the primary metric first; empty where there was no test.
        edits: How many edits the winner has.

    >>> entry = {"metric": "exact_match", "baseline": 0.637, "best": 0.781, "difference": 0.144, "n": 160}
    >>> brief("improved", [entry], 5)
    'improved: exact_match 63.7 -> 78.1 (+14.4) on 160 examples; 5 edits'
    >>> brief("no_gain", [], 0)
    'no gain; 0 edits'
    """
    said = outcome.replace("_", " ")
    if test:
        m = test[0]
        scores = f"{points(m.get('baseline'))} -> {points(m.get('best'))} ({signed(m.get('difference'))})"
        said += f": {name_of(m)} {scores} on {m.get('n')} examples"
    return f"{said}; {edits} {'edit' if edits == 1 else 'edits'}"


def evidence(record: RunRecord) -> str:
    """What the test rows showed, or why they show nothing; "" while they may still be opened."""
    if record.metrics:
        decided = record.reason is not None and record.outcome != "improved"
        why = f" {_sentence(record.reason.detail)}" if decided and record.reason else ""
        return proof(record.metrics[0]) + why
    if record.void and record.reason is not None:
        return void_sentence(record.reason, record.run_id)
    return "The held-out examples were not opened." if record.finished else ""


class Reason(Protocol):
    """Why the gate decided as it did: a kind, and a text for people without a full stop."""

    @property
    def kind(self) -> str:
        """What programs decide by."""

    @property
    def detail(self) -> str:
        """What people read."""


def void_sentence(reason: Reason, run_id: str) -> str:
    """What happened in a test without a verdict, and what to do, by the kind of its reason."""
    again = "Run the same again for a new test, which counts as the next opening of these examples."
    if reason.kind == "budget":
        again = f"Raise the budget and resume run {run_id}: it goes on with the same test."
    return f"The held-out examples were opened, but the test is void: {reason.detail}. Nothing of it is shown. {again}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def search_end(record: RunRecord) -> str:
    """Why the search ended, as a sentence; "" where there was no search or it has not ended."""
    return f"The search ended because {_ENDS[record.stopped.kind]}: {record.stopped.detail}." if record.stopped else ""


def edits_title(record: RunRecord) -> str:
    """What the list of edits is: a change that was proven, or what the best candidate would have changed."""
    return "What changed" if record.outcome == "improved" else "What the best candidate would change"


def proof(metric: Mapping[str, Any]) -> str:
    """The evidence in one sentence: from, to, interval, p and what it had to be, and on how many examples or groups.

    >>> table = {"metric": "em", "baseline": 0.5, "best": 0.6, "difference": 0.1, "p_value": 0.0123, "n": 100}
    >>> proof(table)
    'em went from 50.0 to 60.0 on 100 held-out examples: +10.0 points, p = 0.012.'
    """
    by_example = metric.get("by_example") or metric
    old, new = points(by_example.get("baseline")), points(by_example.get("best"))
    unit, where = "examples", f"{metric.get('n', '?')} held-out examples"
    parts = [f"{signed(metric.get('difference'))} points"]
    if in_groups(metric):
        unit, where = "groups", f"{metric['n']} held-out examples in {metric['clusters']} groups"
        mean = f"{points(metric.get('baseline'))} to {points(metric.get('best'))}"
        parts = [f"{signed(metric.get('difference'))} points as a mean over groups ({mean})"]
    if interval := interval_of(metric):
        parts.append(f"{level_of(metric)}interval {signed(interval[0])} to {signed(interval[1])}")
    if metric.get("p_value") is not None:
        parts.append(f"p {p_value(metric['p_value'])}{bar_of(metric)}")
    out = f"{name_of(metric)} went from {old} to {new} on {where}: {', '.join(parts)}"
    if metric.get("wins") is not None and metric.get("losses") is not None:
        out += f"; {metric['wins']} {unit} better, {metric['losses']} worse"
    if in_groups(metric) and metric.get("by_example"):
        out += f" ({by_example['wins']} examples better, {by_example['losses']} worse)"
    if needed := metric.get("rows_needed"):
        out += f"; about {needed} more examples would decide"
    return out + "."


def in_groups(metric: Mapping[str, Any]) -> bool:
    """Whether the test counted groups of examples and not single ones."""
    return metric.get("clusters") is not None and metric["clusters"] != metric.get("n")


def level_of(metric: Mapping[str, Any]) -> str:
    """The confidence of the interval, before its name; "" where an old record has none.

    >>> level_of({"alpha": 0.025}), level_of({"alpha": 0.05 / 6})
    ('95 % ', '98.3 % ')
    """
    return f"{(1 - 2 * metric['alpha']) * 100:.3g} % " if metric.get("alpha") else ""


def bar_of(metric: Mapping[str, Any]) -> str:
    """What p had to be, after it; why, where these examples were opened before.

    >>> bar_of({"alpha": 0.05 / 6, "opening": 2}), bar_of({"alpha": 0.025, "opening": 1})
    (' (needed: below 0.0083, the 2nd look at these examples)', ' (needed: below 0.025)')
    """
    if not metric.get("alpha"):
        return ""
    look = metric.get("opening") or 1
    why = f", the {ordinal(look)} look at these examples" if look > 1 else ""
    return f" (needed: below {metric['alpha']:.2g}{why})"


def ordinal(number: int) -> str:
    """A number as a rank.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd', '113th']
    """
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number // 10 % 10 != 1 else "th"
    return f"{number}{ending}"


@dataclass(frozen=True)
class MetricCells:
    """A metric's line in the table of the test, as texts."""

    name: str
    old: str
    new: str
    difference: str
    interval: str
    p: str
    rows: str
    moves: str
    verdict: str

    @property
    def tone(self) -> str:
        """Color of the verdict: good, unsure, bad, or none for a word we do not know."""
        return _TONES.get(self.verdict, "")


def metric_cells(metric: Mapping[str, Any]) -> MetricCells:
    """The line of a metric. Scores are in points; lengths and cost, which are only watched, in their own unit."""
    old, new = metric.get("baseline"), metric.get("best")
    name = name_of(metric)
    unit = {"output_length": number, "cost": money}.get(name) if metric.get("role") == "warning" else None
    return MetricCells(
        name=name.replace("_", " ") if metric.get("role") == "warning" else name,
        old=unit(old or 0) if unit else points(old),
        new=unit(new or 0) if unit else points(new),
        difference=percent_change(old or 0, new or 0) if unit else signed(metric.get("difference")),
        interval="–" if unit else _interval_cell(metric),
        p=p_value(metric["p_value"]).removeprefix("= ") if metric.get("p_value") is not None and not unit else "–",
        rows=str(metric.get("n", "–")),
        moves=f"{metric.get('wins', '–')} / {metric.get('losses', '–')}{' groups' if in_groups(metric) else ''}",
        verdict=str(metric.get("verdict") or "").replace("_", " "),
    )


def _interval_cell(metric: Mapping[str, Any]) -> str:
    interval, level = interval_of(metric), level_of(metric).strip()
    if interval is None:
        return "–"
    return f"{signed(interval[0])} to {signed(interval[1])}" + (f" ({level})" if level else "")


def name_of(metric: Mapping[str, Any]) -> str:
    """What a metric is called."""
    return str(metric.get("metric") or metric.get("name") or metric.get("key") or "score")


def interval_of(metric: Mapping[str, Any]) -> tuple[float, float] | None:
    """Lower and upper bound of the difference, where there is one."""
    found = metric.get("interval")
    return (found[0], found[1]) if found and None not in found else None


def points(value: float | None) -> str:
    """A 0-1 score in points.

    >>> points(0.6125)
    '61.3'
    """
    return "–" if value is None else f"{value * 100:.1f}"


def signed(value: float | None) -> str:
    """A difference of scores in points, with its sign.

    >>> signed(-0.05), signed(0.0)
    ('−5.0', '±0.0')
    """
    if value is None:
        return "–"
    shown = f"{abs(value) * 100:.1f}"
    return f"{'±' if float(shown) == 0 else '+' if value > 0 else '−'}{shown}"


def p_value(value: float) -> str:
    """A p value after the letter p.

    >>> p_value(0.00001), p_value(0.03)
    ('< 0.001', '= 0.030')
    """
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def money(usd: float | None) -> str:
    """US dollars, with as many digits as small sums need.

    >>> money(0.00042), money(12.5), money(None), money(0)
    ('$0.00042', '$12.50', 'unknown', '$0')
    """
    if usd is None:
        return "unknown"
    if not usd:
        return "$0"
    if usd < 0.0001:
        return "under $0.0001"
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.2g}"


def number(value: float) -> str:
    """A count with thin spaces between thousands.

    >>> number(1234567)
    '1\u202f234\u202f567'
    """
    return f"{value:,.0f}".replace(",", "\u202f")


def percent_change(old: float, new: float) -> str:
    """A relative change.

    >>> percent_change(200, 250), percent_change(0, 3)
    ('+25 %', 'new')
    """
    if not old:
        return "new" if new else "±0 %"
    change = round((new / old - 1) * 100)
    return f"{'+' if change > 0 else '−' if change < 0 else '±'}{abs(change)} %"


def model_name(identity: str) -> str:
    """The name in a model's identity, which also holds class, endpoint and settings.

    >>> model_name('ChatOpenAI:gpt-4o@https://api.example/v1{"temperature": 0}'), model_name("openai:gpt-4o")
    ('gpt-4o', 'openai:gpt-4o')
    """
    return _IDENTITY.sub(r"\1", identity)


def changed_words(record: RunRecord) -> str:
    """How much of the prompt is different."""
    old, new, changed = record.words
    length = "same length" if old == new else f"{old} → {new} words"
    return f"{changed} {'word' if changed == 1 else 'words'} changed ({length})"


def answer_costs(record: RunRecord) -> list[tuple[str, str, str, str]]:
    """What one answer costs: (what, before, after, change)."""
    if record.costs is None:
        return []
    old, new = record.costs
    out = [
        (
            "input tokens",
            f"{old.input_tokens:.0f}",
            f"{new.input_tokens:.0f}",
            percent_change(old.input_tokens, new.input_tokens),
        ),
        (
            "output tokens",
            f"{old.output_tokens:.0f}",
            f"{new.output_tokens:.0f}",
            percent_change(old.output_tokens, new.output_tokens),
        ),
    ]
    if old.usd is not None and new.usd is not None and (old.usd or new.usd):
        out.append(("money", money(old.usd), money(new.usd), percent_change(old.usd, new.usd)))
    return out


def is_comparison(record: RunRecord) -> bool:
    """Whether the run compared two given prompts: no search, no proposals, nothing applied."""
    return record.started.method == "compare"


def how_to(record: RunRecord) -> list[tuple[str, str]]:
    """The commands for what comes next: (what it does, command)."""
    run = record.run_id
    unproven = "" if record.outcome == "improved" and not record.unenforced else " --force"
    to = _to_flag(record)
    out = [
        ("see the change as a patch", f"promptopt diff {run} --patch"),
        ("write the new prompt into a file", f"promptopt apply {run}{to}{unproven}"),
        ("write only some of the edits, untested", f"promptopt apply {run} --edits 1,3{to} --force"),
        ("undo it in the file", f"promptopt apply --revert {run}"),
        ("put it into LangSmith", f"promptopt push {run} OWNER/NAME --tag staging{unproven}"),
        ("undo that", f"promptopt rollback {run}"),
    ]
    return out[: 1 if is_comparison(record) else None] if record.edits else []


def _to_flag(record: RunRecord) -> str:
    """The `--to` that `apply` needs: none where the run read its prompt from a file, else the chain's module."""
    name = str(record.started.setting("task", "prompt") or "").partition("#")[0]
    if name.endswith((".txt", ".md", ".json", ".yaml", ".yml", ".j2", ".jinja2", ".mustache", ".prompt")):
        return ""
    module = str(record.started.setting("task", "chain") or "").partition(":")[0]
    return f" --to {module if module.endswith('.py') else module.replace('.', '/') + '.py' if module else 'FILE'}"


def replayed_note(run_id: str) -> str:
    """The note beside a verdict that was read from the record.

    >>> replayed_note("ab12")
    'This is the recorded run ab12; nothing was called.'
    """
    return f"This is the recorded run {run_id}; nothing was called."


def destination_note(record: RunRecord) -> str:
    """Where the winner went: live objects, registries, files; "" where it went nowhere."""
    moves = [move.event for move in record.moves]
    told = [f"applied to the {move.target}" for move in moves if isinstance(move, Applied)]
    told += [f"pushed to {move.target}" for move in moves if isinstance(move, Pushed)]
    told += [f"written to {', '.join(record.written)}"] if record.written else []
    return f"The new prompt was {'; '.join(dict.fromkeys(told))}." if told else ""


def simulated_note(record: RunRecord) -> str:
    """Which models were the built-in programs, so that their scores are not taken for a language model's."""
    if not record.simulated:
        return ""
    roles = " and ".join(record.simulated)
    return (
        f"Simulated: the {roles} model{'s are' if len(record.simulated) > 1 else ' is'} the built-in offline "
        "program, not a language model. These scores say nothing about real models."
    )


_SUSPECTS = 10


def _rows_named(rows: Sequence[SuspectRow]) -> str:
    shown = ", ".join(f"{s.example_id} ({s.split})" for s in rows[:_SUSPECTS])
    return shown + (f" and {len(rows) - _SUSPECTS} more" if len(rows) > _SUSPECTS else "")


def health_facts(health: Health) -> list[tuple[str, str]]:
    """What is worth knowing about the optimizer model's replies and the labels, as pairs of texts."""
    facts: list[tuple[str, str]] = []
    if health.rules:
        by_rule = ", ".join(f"{r.rule} {r.count}" for r in health.rules)
        refused = sum(r.count for r in health.rules)
        facts.append(("proposals refused", f"{refused} of {health.proposals}: {by_rule}"))
    shares = (
        ("marks that could be used", health.tag_validity),
        ("fixed text lost in replies", health.leak),
        ("replies that change nothing", health.no_ops),
    )
    facts += [(what, f"{share:.0%}") for what, share in shares if share is not None]
    if health.second_tries:
        facts.append(("asked a second time", f"{health.second_tries} of {number(health.calls)} calls"))
    if health.signatures:
        facts.append(("signatures met", ", ".join(s.replace("_", " ") for s in health.signatures)))
    doubted = [s for s in health.suspects if s.objections]
    hard = [s for s in health.suspects if not s.objections]
    if doubted:
        facts.append(("labels the optimizer model doubts", _rows_named(doubted)))
    if hard:
        facts.append(("no prompt got right: hard, or labelled wrong", _rows_named(hard)))
    if health.objections:
        facts.append(("objections to expected answers", str(health.objections)))
    return facts
