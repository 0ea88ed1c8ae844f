"""Numbers, verdicts and values of rows in plain words, said once for every format."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import parted
from langchain_promptopt.types import MetricEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_promptopt.report.record import Health, RunRecord, SuspectRow
    from langchain_promptopt.types import Reason, StopKind


def value_text(value: Any) -> str:
    """A row's value for people: texts as they are, a single field by itself, the rest as JSON.

    >>> value_text({"label": "billing"}), value_text({"a": 1, "b": None}), value_text(None)
    ('billing', '{"a": 1, "b": null}', '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        return value_text(next(iter(value.values())))
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
    "worse": "The new prompt is worse by more than is allowed; the old prompt stays.",
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
    margin = record.started.gate.get("margin")
    if margin is not None and record.outcome == "improved":
        title, sentence = _not_worse(record, margin)
    if record.outcome in {"inconclusive", "no_gain"} and record.seed_id == record.best_id:
        sentence = "The search found nothing better than the prompt you have."
        if (record.started.recipe.get("scoring") or {}).get("kind") == "NotWorse":
            sentence = "The search found no shorter prompt that is as good as the one you have."
    if record.reason is not None and record.outcome in {"inconclusive", "no_gain"}:
        sentence = _DEMANDS.get(record.reason.kind, sentence)
    if record.error:
        again = " `promptopt resume` goes on without paying twice." if record.retryable else ""
        return Headline(tone, title, f"{sentence}{again}", record.error, search_end(record))
    return Headline(tone, title, sentence, evidence_text(record), search_end(record))


def _not_worse(record: RunRecord, margin: float) -> tuple[str, str]:
    """Title and sentence of a prompt that was shown not to be worse, with how much shorter it is."""
    old, new = record.tokens
    held = f"on held-out examples it is not worse by more than {margin * 100:g} points"
    if new >= old:
        return "Not worse", f"The new prompt passes: {held}."
    change = f"{(1 - new / old) * 100:.0f} % shorter (about {old} → {new} tokens)"
    return "Shorter, not worse", f"The new prompt is {change}, and {held}."


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
    if test and outcome == "improved" and test[0].get("verdict") == "held":
        said = "not worse"
    if test:
        primary = MetricEntry.of(test[0])
        scores = f"{points(primary.baseline)} -> {points(primary.best)} ({signed(primary.difference)})"
        said += f": {primary.metric} {scores} on {primary.n} examples"
    return f"{said}; {edits} {'edit' if edits == 1 else 'edits'}"


_TELL_WHAT_IS_NEEDED = frozenset({"not_shown", "small_against_a_failure", "guard_not_shown"})
"""Kinds of reasons that say how many more examples would decide, where that is known."""


def evidence_text(record: RunRecord) -> str:
    """What the test rows showed, or why they show nothing; "" while they may still be opened."""
    if record.metrics:
        decided = record.reason is not None and record.outcome != "improved"
        why = f" {_sentence(record.reason.detail)}" if decided and record.reason else ""
        primary = record.metrics[0]
        told = record.reason is not None and record.reason.kind in _TELL_WHAT_IS_NEEDED
        return proof(replace(primary, rows_needed=None) if why and told else primary) + why
    if record.void and record.reason is not None:
        return void_sentence(record.reason, record.run_id)
    return "The held-out examples were not opened." if record.finished else ""


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


def proof(entry: MetricEntry) -> str:
    """The evidence in one sentence: from, to, interval, p and what it had to be, and on how many examples or groups.

    >>> entry = MetricEntry(metric="em", baseline=0.5, best=0.6, difference=0.1, p_value=0.0123, n=100)
    >>> proof(entry)
    'em went from 50.0 to 60.0 on 100 held-out examples: +10.0 points, p = 0.012.'
    """
    single = entry.by_example or entry
    unit, where = "examples", f"{'?' if entry.n is None else entry.n} held-out examples"
    parts = [f"{signed(entry.difference)} points"]
    if entry.in_groups:
        unit, where = "groups", f"{entry.n} held-out examples in {entry.clusters} groups"
        mean = f"{points(entry.baseline)} to {points(entry.best)}"
        parts = [f"{signed(entry.difference)} points as a mean over groups ({mean})"]
    if entry.interval is not None:
        low, high = entry.interval
        parts.append(f"{level_of(entry)}interval {signed(low)} to {signed(high)}")
    if entry.p_value is not None:
        parts.append(f"p {p_value(entry.p_value)}{bar_of(entry)}")
    if (entry.margin or 0) < 0:
        parts.append(f"a fall of up to {-(entry.margin or 0) * 100:g} points is allowed")
    out = f"{entry.metric} went from {points(single.baseline)} to {points(single.best)} on {where}: {', '.join(parts)}"
    if entry.wins is not None and entry.losses is not None:
        out += f"; {entry.wins} {unit} better, {entry.losses} worse"
    if entry.in_groups and entry.by_example is not None:
        out += f" ({single.wins} examples better, {single.losses} worse)"
    if entry.rows_needed:
        out += f"; about {number(entry.rows_needed)} more examples would decide"
    return out + "."


def level_of(entry: MetricEntry) -> str:
    """The confidence of the interval, before its name; "" where an old record has none.

    >>> level_of(MetricEntry(alpha=0.025)), level_of(MetricEntry(alpha=0.05 / 6))
    ('95 % ', '98.3 % ')
    """
    return f"{(1 - 2 * entry.alpha) * 100:.3g} % " if entry.alpha else ""


def bar_of(entry: MetricEntry) -> str:
    """What p had to be, after it; why, where these examples were opened before.

    >>> bar_of(MetricEntry(alpha=0.05 / 6, opening=2)), bar_of(MetricEntry(alpha=0.025, opening=1))
    (' (needed: below 0.0083, the 2nd look at these examples)', ' (needed: below 0.025)')
    """
    if not entry.alpha:
        return ""
    look = entry.opening or 1
    why = f", the {ordinal(look)} look at these examples" if look > 1 else ""
    return f" (needed: below {entry.alpha:.2g}{why})"


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


def metric_cells(entry: MetricEntry) -> MetricCells:
    """The line of a metric. Scores are in points; lengths and cost, which are only watched, in their own unit."""
    if entry.role == "warning" and entry.metric in _UNITS:
        return _watched_cells(entry, _UNITS[entry.metric])
    return MetricCells(
        name=_cell_name(entry),
        old=points(entry.baseline),
        new=points(entry.best),
        difference=signed(entry.difference),
        interval=_interval_cell(entry),
        p="–" if entry.p_value is None else p_value(entry.p_value).removeprefix("= "),
        rows=_count(entry.n),
        moves=_moves_cell(entry),
        verdict=entry.verdict.replace("_", " "),
    )


def _watched_cells(entry: MetricEntry, unit: Callable[[float], str]) -> MetricCells:
    old, new = entry.baseline or 0, entry.best or 0
    return MetricCells(
        name=_cell_name(entry),
        old=unit(old),
        new=unit(new),
        difference=percent_change(old, new),
        interval="–",
        p="–",
        rows=_count(entry.n),
        moves=_moves_cell(entry),
        verdict=entry.verdict.replace("_", " "),
    )


def _cell_name(entry: MetricEntry) -> str:
    return entry.metric.replace("_", " ") if entry.role == "warning" else entry.metric


def _count(value: int | None) -> str:
    return "–" if value is None else str(value)


def _moves_cell(entry: MetricEntry) -> str:
    return f"{_count(entry.wins)} / {_count(entry.losses)}{' groups' if entry.in_groups else ''}"


def _interval_cell(entry: MetricEntry) -> str:
    if entry.interval is None:
        return "–"
    low, high = entry.interval
    level = level_of(entry).strip()
    return f"{signed(low)} to {signed(high)}" + (f" ({level})" if level else "")


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


def duration(seconds: float) -> str:
    """A length of time to read: two figures at most.

    >>> duration(0.284), duration(12), duration(1500), duration(9000)
    ('0.28 s', '12 s', '25 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    minutes = seconds / 60
    return f"{minutes:.2g} min" if minutes < 99.5 else f"{minutes / 60:.3g} h"


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
    """A count with commas between thousands.

    >>> number(1234567)
    '1,234,567'
    """
    return f"{value:,.0f}"


_UNITS: Mapping[str, Callable[[float], str]] = {"output_length": number, "cost": money}
"""How the numbers are written that are no scores."""


def percent_change(old: float, new: float) -> str:
    """A relative change.

    >>> percent_change(200, 250), percent_change(0, 3)
    ('+25 %', 'new')
    """
    if not old:
        return "new" if new else "±0 %"
    change = round((new / old - 1) * 100)
    return f"{'+' if change > 0 else '−' if change < 0 else '±'}{abs(change)} %"


def name_in_identity(identity: str) -> str:
    """The name in a model's identity, which also holds class, endpoint and settings.

    >>> (
    ...     name_in_identity('ChatOpenAI:gpt-4o@https://api.example/v1{"temperature": 0}'),
    ...     name_in_identity("openai:gpt-4o"),
    ... )
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


BY_MODEL = ("model", "old", "new", "difference", "examples")
"""Heads of the table of one prompt over several models."""


def by_model_title(record: RunRecord) -> str:
    """What the table of one prompt over several models is about."""
    split = "held-out" if record.by_model[0]["split"] == "test" else "dev"
    return f"One prompt, several models: {record.by_model[0]['metric']} on {split} examples"


def by_model_rows(record: RunRecord) -> list[tuple[str, ...]]:
    """A line for each task model; empty where there is one."""
    rows: list[tuple[str, ...]] = []
    for m in record.by_model:
        rows.append((m["model"], points(m["baseline"]), points(m["best"]), signed(m["difference"]), str(m["n"])))
    return rows


BY_PROMPT = ("prompt", "edits", "difference", "examples", "better / worse", "how it was measured")
"""Heads of the table of gains by prompt."""
BY_PROMPT_TITLE = "Gains by prompt"
BY_PROMPT_NOTE = "Scores of dev examples, on which the search chose; the test decided about all edits together."
_MEASURED = {
    "all": "no other prompt was edited",
    "left_out": "new prompts with and without them",
    "alone": "old prompts with and without them",
    "steps": "steps that made them, added up",
}


def by_prompt_rows(record: RunRecord) -> list[tuple[str, ...]]:
    """A line for each prompt of the app; empty where there is one."""
    rows: list[tuple[str, ...]] = []
    for p in record.by_prompt:
        name, edits, measured = p["prompt"], str(p["edits"]), p["measured"]
        if measured:
            moves = f"{p['better']} / {p['worse']}"
            rows.append((name, edits, signed(p["difference"]), str(p["n"]), moves, _MEASURED[measured]))
        else:
            rows.append((name, edits, "", "", "", "only together with other edits" if p["edits"] else "not edited"))
    return rows


TRADEOFFS = ("prompt", "score", "examples", "tokens", "cost of an answer", "")
"""Heads of the table of score against length and cost."""
TRADEOFFS_TITLE = "Score against length and cost"
TRADEOFFS_NOTE = "Scores of dev examples, on which the search chose; only the new prompt was tested."


def tradeoff_rows(record: RunRecord) -> list[tuple[str, ...]]:
    """Score against length and cost, a line a candidate; empty where there is nothing to choose between."""
    rows: list[tuple[str, ...]] = []
    for t in record.pareto:
        name = "old prompt" if t.baseline else "new prompt" if t.best else f"step {t.step}, {t.candidate_id[:8]}"
        rows.append(
            (name, points(t.score), str(t.n), str(t.tokens), money(t.usd), "" if t.front else "another is better")
        )
    return rows if len(rows) > 1 else []


def is_comparison(record: RunRecord) -> bool:
    """Whether the run compared two given prompts: no search, no proposals, nothing applied."""
    return record.started.method == "compare"


def how_to(record: RunRecord) -> list[tuple[str, str]]:
    """The commands for what comes next: (what it does, command)."""
    run = record.run_id
    unproven = "" if record.outcome == "improved" and not record.unenforced else " --force"
    to = _to_flag(record)
    some = {0: "", 1: "", 2: "1"}.get(len(record.edits), "1,3")
    out = [
        ("see the change as a patch", f"promptopt diff {run} --patch"),
        ("write the new prompt into a file", f"promptopt apply {run}{to}{unproven}"),
        *(
            [("write only some of the edits, untested", f"promptopt apply {run} --edits {some}{to} --force")]
            if some
            else []
        ),
        ("undo it in the file", f"promptopt apply --revert {run}"),
        ("put it into LangSmith", f"promptopt push {run} OWNER/NAME --tag staging{unproven}"),
        ("undo that", f"promptopt rollback {run}"),
    ]
    out = out[: 1 if is_comparison(record) else None] if record.edits else []
    return [*_more_budget(record), *out]


def _more_budget(record: RunRecord) -> list[tuple[str, str]]:
    """The command that goes on with a run that its budget ended, with twice of each limit."""
    flags = []
    for name in ("usd", "calls", "search_calls", "tokens", "seconds"):
        if limit := record.started.setting("budget", name):
            flags.append(f" --{name.replace('_', '-')} {2 * limit:g}")
    if record.outcome != "budget" or not flags or is_comparison(record):
        return []
    return [("go on with more; answers are not paid again", f"promptopt resume {record.run_id}{''.join(flags)}")]


def _to_flag(record: RunRecord) -> str:
    """The `--to` that `apply` needs: none where the run read its prompt from a file, else the chain's module."""
    name = str(record.started.setting("task", "prompt") or "").partition("#")[0]
    if name.endswith((".txt", ".md", ".json", ".yaml", ".yml", ".j2", ".jinja2", ".mustache", ".prompt")):
        return ""
    module = str(record.started.setting("task", "chain") or "").partition(":")[0]
    return f" --to {module if module.endswith('.py') else module.replace('.', '/') + '.py' if module else 'FILE'}"


def placed(where: str, target: str) -> str:
    """Where a prompt is, in words of the command line: `$` is the target itself.

    >>> placed("$", "prompt.txt"), placed("$.first", "my_app.chain:chain"), placed("app.py:3", "my_app.chain:chain")
    ('prompt.txt', 'my_app.chain:chain.first', 'app.py:3')
    """
    return target + where[1:] if target and where.startswith("$") else where


def replayed_note(run_id: str) -> str:
    """The note beside a verdict that was read from the record.

    >>> replayed_note("ab12")
    'This is the recorded run ab12; nothing was called.'
    """
    return f"This is the recorded run {run_id}; nothing was called."


def split_words(data: Mapping[str, Any]) -> str:
    """Sizes of the splits, and how those were made that the data does not name.

    >>> split_words({"splits": {"train": 6, "dev": 10, "test": 24}, "made": {"dev": "from train"}})
    'train 6, dev 10 from train, test 24'
    >>> split_words({"splits": {"train": 6, "test": 9}, "made": {"train": "by hash", "test": "by hash"}})
    'train 6, test 9, split by hash'
    """
    splits, made = data.get("splits") or {}, data.get("made") or {}
    alike = bool(splits) and all(made.get(name) == "by hash" for name in splits)
    told = []
    for name, n in splits.items():
        told.append(f"{name} {n}" + (f" {made[name]}" if name in made and not alike else ""))
    return ", ".join([*told, "split by hash"] if alike else told)


def made_note(record: RunRecord) -> str:
    """How many examples each split has and how it was made; "" where the data names all splits."""
    data = record.started.data
    return f"Examples: {split_words(data)}." if data.get("made") else ""


def destination_note(record: RunRecord) -> str:
    """Where the winner went: live objects, registries, files; "" where it went nowhere."""
    told = []
    places = record.destinations
    files = [p for p in places if p.is_file]
    for place in (p for p in places if p.target == "chain"):
        told.append("applied to the chain in memory" + (", and reverted since" if place.undone else ""))
    for place in (p for p in places if p.kind == "pushed"):
        told.append(f"pushed to {place.target}" + (", and taken back since" if place.undone else ""))
    standing = dict.fromkeys([*(p.target for p in files if not p.undone), *record.written])
    undone = [p.target for p in files if p.undone and p.target not in standing]
    told += [f"written to {', '.join(standing)}"] if standing else []
    told += [f"written to {', '.join(undone)}, and reverted since"] if undone else []
    return f"The new prompt was {'; '.join(told)}." if told else ""


def simulated_note(record: RunRecord) -> str:
    """Which models were the built-in programs, so that their scores are not taken for a language model's."""
    if not record.simulated:
        return ""
    roles = " and ".join(record.simulated)
    several = len(record.simulated) > 1
    are = "s are built-in offline programs, not language models" if several else " is a built-in offline program"
    return f"Simulated: the {roles} model{are}. These scores say nothing about real models."


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
        facts.append(("the search ran into", ", ".join(s.replace("_", " ") for s in health.signatures)))
    doubted, hard = parted(health.suspects, attrgetter("objections"))
    if doubted:
        facts.append(("labels the optimizer model doubts", _rows_named(doubted)))
    if hard:
        facts.append(("no prompt got right: hard, or labelled wrong", _rows_named(hard)))
    if health.objections:
        facts.append(("objections to expected answers", str(health.objections)))
    return facts
