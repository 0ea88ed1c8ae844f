"""An optimizer of stated skill for the planted-fault world: it reads the steps' requests and nothing else.

It understands a fault that an error shows with chance `skill`, blames an innocent sentence
otherwise, and loses sentences when it rewrites everything. Its only other source is `KNOWLEDGE`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import starmap
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from langchain_promptopt._collections import present
from langchain_promptopt.bench import world as numbers
from langchain_promptopt.bench.world import FRAME, OLD_FRAME_WORD, VALUES, Unit, reworded, rule, topics_in, units_of
from langchain_promptopt.offline.conversation import longest_stretch, number_in, objects_in, on_one_line, section_body
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.steps.line_protocol import anchored, is_example, unlined
from langchain_promptopt.types import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from langchain_core.messages.ai import UsageMetadata

    from langchain_promptopt.bench.world import World

_KINDS = {
    "gradient.apo": "reasons",
    "gradient.apo-one": "reasons",
    "gradient.pe2": "reasons",
    "identify.line-ask": "line",
    "identify.quote": "quote",
    "propose.slots": "slots",
    "global.edit": "global",
    "induce": "induce",
    "summarise": "summary",
}
_GOALS = ("edit", "generate", "paraphrase")


@dataclass(frozen=True)
class Asked:
    """One request with the material it may be answered from."""

    kind: str
    goal: str
    prompt: str
    opening: str
    errors: tuple[Mapping[str, Any], ...]
    formats: tuple[Mapping[str, Any], ...]
    history: tuple[Mapping[str, Any], ...]
    reasoned: bool
    allowance: int | None
    cap: int | None
    k_max: int
    w_max: int | None
    marked: str


def _kind(told: str) -> str | None:
    for name, kind in _KINDS.items():
        if longest_stretch(name) in told:
            return kind
    return None


def _last_request(texts: Sequence[str]) -> tuple[int, str]:
    """Its place and its kind; the last text and "" where none is a request."""
    for at in reversed(range(len(texts))):
        kind = _kind(texts[at])
        if kind is not None:
            return at, kind
    return -1, ""


def _goal(told: str) -> str:
    for goal in _GOALS:
        if longest_stretch(f"propose.goal-{goal}") in told or longest_stretch(f"global.goal-{goal}") in told:
            return goal
    return "edit"


def asked(turns: Sequence[tuple[str, str]]) -> Asked:
    """The last request that is known by its wording; a remark about a bad reply leads back to it."""
    human = [(text, on_one_line(text)) for role, text in turns if role in {"human", "user"} and not is_example(text)]
    at, kind = _last_request([told for _, told in human])
    text, told = human[at]
    opening = human[0][0]
    prompt = section_body(opening, "prompt") or unlined(section_body(opening, "lines") or "")
    return Asked(
        kind=kind,
        goal=_goal(told),
        prompt=prompt,
        opening="\n".join((prompt, section_body(opening, "errors") or "", section_body(opening, "examples") or "")),
        errors=_rows(opening, "errors"),
        formats=_rows(opening, "examples"),
        history=_rows(opening, "history"),
        reasoned=any(_kind(t) == "reasons" for _, t in human[:at]),
        allowance=number_in(r"change at most (\d+) words", told),
        cap=number_in(r"may have at most (\d+) words", told),
        k_max=number_in(r"JSON list of at most (\d+) (?:objects|changes)", told) or 5,
        w_max=number_in(r"has at most (\d+) words", told),
        marked=section_body(text, "marked") or "",
    )


def _rows(text: str, name: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(objects_in(section_body(text, name) or ""))


def slots_of(marked: str) -> list[tuple[int, int]]:
    """The marked places as offsets of the text without marks."""
    out, plain, opened = list[tuple[int, int]](), 0, 0
    for piece in re.split(r"(</?edit[\w-]*>)", marked):
        if piece.startswith("<edit"):
            opened = plain
        elif piece.startswith("</edit"):
            out.append((opened, plain))
        else:
            plain += len(piece)
    return out


_ROLES = {"human": "human", "ai": "ai", "system": "system"}


class PlantedOptimizer(BaseChatModel):
    """The optimizer model of one world. Equal requests get equal replies at temperature 0 alone."""

    world: Any
    temperature: float | None = None
    model_name: str = "planted"
    _asked_before: Counter[str] = PrivateAttr(default_factory=Counter)

    @property
    def _llm_type(self) -> str:
        return "planted"

    def answer(self, turns: Sequence[tuple[str, str]], temperature: float | None = None) -> AIMessage:
        """The reply to (role, text) pairs, without LangChain in between."""
        said = self._reply(turns, float(temperature or 0.0) * self.world.settings.temperature)
        read, words = sum(len(t.split()) for _, t in turns), len(said.split())
        usage: UsageMetadata = {"input_tokens": read, "output_tokens": words, "total_tokens": read + words}
        return AIMessage(said, usage_metadata=usage)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: Any = None,  # noqa: ARG002
        run_manager: Any = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> ChatResult:
        turns = [(_ROLES.get(m.type, m.type), str(m.text)) for m in messages]
        return ChatResult(
            generations=[ChatGeneration(message=self.answer(turns, kwargs.get("temperature", self.temperature)))]
        )

    def _reply(self, turns: Sequence[tuple[str, str]], heat: float) -> str:
        digest = content_hash(list(turns))
        k = self._asked_before[digest] if heat else 0
        self._asked_before[digest] += 1
        request = asked(turns)
        # what is understood of the same errors stays the same over the turns of one conversation
        thought = rng_at(
            self.world.seed,
            "thought",
            content_hash(request.opening),
            *([k] if heat and request.kind == "global" else []),
        )
        writer = Writer(self.world, request, thought, rng_at(self.world.seed, "hand", digest, k), heat)
        return writer.reply()


@dataclass(frozen=True)
class Change:
    """New text for a stretch of the prompt, and whether it rests on an error that was understood."""

    start: int
    end: int
    new: str
    founded: bool = True
    why: str = ""


@dataclass
class Writer:
    """Answers one request."""

    world: World
    request: Asked
    thought: Random
    hand: Random
    heat: float
    units: tuple[Unit, ...] = ()
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        text = self.request.prompt
        self.units = tuple(u for u in units_of(text) if "{" not in text[u.start : u.end])

    def reply(self) -> str:
        """The reply in the form asked for."""
        if self.request.kind == "summary":
            return "Attempts that kept more of the rules scored higher."
        if self.request.kind == "induce":
            return f"<START>\n{self._induced()}\n<END>"
        self.changes = self._diagnosis()
        if self.request.kind == "reasons":
            return "\n".join(f"- {ch.why}" for ch in self.changes) or "- nothing in the prompt explains these errors"
        if self.request.kind == "line":
            return self._lines()
        if self.request.kind == "quote":
            return self._quotes()
        return self._slots() if self.request.kind == "slots" else f"<START>\n{self._rewritten()}\n<END>"

    @property
    def _skill(self) -> float:
        skill = self.world.settings.skill
        skill += (1 - skill) * numbers.LIFT_BY_REASONS * self.request.reasoned
        return skill if self.request.errors else skill * numbers.WITHOUT_ERRORS

    def _diagnosis(self) -> list[Change]:
        """Changes that the shown rows (or plain knowledge) suggest, true ones and false ones."""
        out = present(map(self._known_fault, self.units))
        if self.request.goal == "paraphrase" and not self.request.errors:
            return _apart(out)
        for row in self.request.errors or self.request.formats:
            topics = topics_in(str(row["inputs"].get("text", "")))
            pairs = list(zip(topics, str(row["expected"].get("answer", "")).split(), strict=False))
            found = list(starmap(self._fault, pairs))
            understood = [ch for ch in found if ch is not None and self.thought.random() < self._skill]
            out += understood
            if self.request.errors and not understood and self.thought.random() < numbers.BLAME * (1 - self._skill):
                out += self._blamed()
        return _apart(out)

    def _fault(self, topic: str, value: str) -> Change | None:
        """What would have to change so that the prompt says `value` for `topic`; None where it does already."""
        why = f"the prompt does not say {value} for {topic}"
        for unit in self.units:
            if unit.topic != topic:
                continue
            if unit.poison:
                return Change(*unit.poisoned, f"get the {FRAME} {value}", why=why)
            if not unit.value:
                continue
            return None if unit.value == value else Change(*unit.place(unit.value), value, why=why)
        stray = next((u for u in self.units if u.decoy and not u.topic and u.value == value), None)
        if stray is not None:
            return Change(*stray.place(stray.decoy), topic, why=why)
        end = self.units[-1].end if self.units else 0
        return Change(end, end, " " + self._rule(topic, value), why=why)

    def _rule(self, topic: str, value: str) -> str:
        return f"{topic} {value};" if self.world.settings.words < 20 else rule(topic, value)

    def _known_fault(self, unit: Unit) -> Change | None:
        """A fault mended from knowledge of the subject alone."""
        truth = self.world.truth.get(unit.topic)
        if truth is None or (unit.value == truth and not unit.poison) or self.thought.random() >= numbers.KNOWLEDGE:
            return None
        return self._fault(unit.topic, truth)

    def _blamed(self) -> list[Change]:
        sane = [u for u in self.units if u.value and not u.poison]
        if not sane:
            return []
        unit = self.thought.choice(sane)
        return [
            Change(*unit.place(unit.value), self.thought.choice(VALUES), founded=False, why=f"{unit.value} may mislead")
        ]

    def _quotes(self) -> str:
        text, items = self.request.prompt, list[dict[str, Any]]()
        for change in self._marks():
            if change.start == change.end:
                items.append(
                    {
                        "message": 0,
                        "quote": "",
                        "after": text[max(0, change.start - 40) : change.start].split("\n")[-1],
                        "reason": change.why,
                    }
                )
                continue
            start, end = self._widened(change)
            quote = text[start:end]
            items.append(
                {"message": 0, "quote": quote, "occurrence": text[:start].count(quote) + 1, "reason": change.why}
            )
        return json.dumps(items[: self.request.k_max])

    def _lines(self) -> str:
        """Marks and new texts in one reply: the places that `_quotes` would name, filled as `_slots` would."""
        text, items = self.request.prompt, list[dict[str, Any]]()
        for change in self._marks()[: self.request.k_max]:
            place = (change.start, change.end) if change.start == change.end else self._widened(change)
            new, why = self._slot(*place)
            number, start, end = anchored(text, *place)
            new = text[start : place[0]] + (f" {new}" if change.start == change.end else new) + text[place[1] : end]
            items.append({"why": why or change.why, "line": number, "old": text[start:end], "new": new})
        return json.dumps({"changes": items})

    def _marks(self) -> list[Change]:
        marks = self.changes or ([] if self.request.errors or not self.units else self._blamed())
        return [*marks, *self._frame_marks()]

    def _widened(self, change: Change) -> tuple[int, int]:
        """Models mark whole phrases: up to the limit, inside the sentence (or beyond, without a limit)."""
        limit = self.request.w_max or 25
        words: list[tuple[int, int]] = []
        for u in self.units:
            words += [(a, b) for a, b, _ in u.words]
        inside = []
        for i, (a, b) in enumerate(words):
            if a < change.end and b > change.start:
                inside.append(i)
        low, high = inside[0], inside[-1] + 1
        for _ in range(max(0, self.hand.randint(1, limit) - (high - low))):
            if self.hand.random() < 0.5 and low > 0:
                low -= 1
            elif high < len(words):
                high += 1
        if self.request.w_max is not None:
            unit = next(u for u in self.units if u.start <= change.start < u.end)
            low = max(low, next(i for i, w in enumerate(words) if w[0] >= unit.start))
            high = min(high, max(i for i, w in enumerate(words) if w[1] <= unit.end) + 1, low + max(limit, 1))
        return words[low][0], words[high - 1][1]

    def _frame_marks(self) -> list[Change]:
        old = [u for u in self.units if u.old_frame]
        if not old or self.thought.random() >= self._skill:
            return []
        found: list[Change] = []
        for u in old:
            found.append(Change(*u.place(OLD_FRAME_WORD), FRAME, why="ledger misleads"))
        return found

    def _slots(self) -> str:
        out: dict[str, dict[str, str]] = {}
        for n, (start, end) in enumerate(slots_of(self.request.marked), 1):
            new, why = self._slot(start, end)
            if new != self.request.prompt[start:end]:
                out[str(n)] = {"new": new, "reason": why}
        if not out:
            return json.dumps(
                {"1": {"new": self.request.prompt[slice(*slots_of(self.request.marked)[0])], "reason": "as it is"}}
            )
        return json.dumps(out)

    def _slot(self, start: int, end: int) -> tuple[str, str]:
        mine = []
        for ch in self.changes:
            if start <= ch.start and ch.end <= end and self.hand.random() >= numbers.LEAVE_OUT * self.heat:
                mine.append(self._by_hand(ch))
        mine += [ch for ch in self._frame_marks() if start <= ch.start and ch.end <= end]
        if start == end:
            return (mine[0].new.strip(), mine[0].why) if mine else ("", "")
        if not mine and self.request.goal != "paraphrase" and self.hand.random() < numbers.MEDDLE:
            inside = [u for u in self.units if u.value and start <= u.place(u.value)[0] < end]
            mine = [self._meddled(u, start, end) for u in inside][:1]  # each draws a word, whichever is used
        touched: set[int] = set()
        for ch in mine:
            touched.update(range(ch.start, ch.end))
        lost = []
        for u in self.units:
            for a, b, w in u.words:
                if (
                    w
                    and w in (u.topic, u.value)
                    and start <= a
                    and b <= end
                    and a not in touched
                    and self.hand.random() < self._loss() * numbers.COLLATERAL
                ):
                    lost.append(Change(a, b, self.hand.choice(VALUES) if w == u.value else "it", founded=False))
        why = "; ".join(ch.why for ch in mine if ch.why)
        return applied(self.request.prompt, _apart([*mine, *lost]), start, end), why

    def _by_hand(self, change: Change) -> Change:
        """The change as it is written down: sometimes with a wrong value."""
        if self.hand.random() >= numbers.MISWRITE * (1 - self._skill):
            return change
        words = []
        for w in change.new.split(" "):
            if w.strip(".;") in VALUES:
                words.append(self.hand.choice(VALUES))
            else:
                words.append(w)
        return replace(change, new=" ".join(words), founded=False)

    def _meddled(self, unit: Unit, start: int, end: int) -> Change:
        a, b = unit.place(unit.value)
        return (
            Change(a, min(b, end), self.hand.choice(VALUES), founded=False) if start <= a else Change(start, start, "")
        )

    def _loss(self) -> float:
        """The drop rate as heat and a stated allowance of words change it."""
        rate = self.world.settings.drop_rate * (1 + max(0.0, self.heat - numbers.HEAT) / (2 * numbers.HEAT))
        allowed = self.request.allowance
        return rate if allowed is None else rate * min(1.0, allowed / numbers.ALLOWED_FREELY)

    def _rewritten(self) -> str:
        text, loss = self.request.prompt, self._loss()
        changes = []
        for ch in self.changes:
            if self.hand.random() >= numbers.LEAVE_OUT * self.heat:
                changes.append(self._by_hand(ch))
        reframed = any(u.old_frame for u in self.units) and self.hand.random() < self._skill
        for unit in self.units:
            if self.hand.random() < loss:
                changes.insert(0, Change(unit.start, unit.end, "", founded=False))
            elif unit.value and self.hand.random() < loss * numbers.MANGLE:
                changes.insert(0, Change(*unit.place(unit.value), self.hand.choice(VALUES), founded=False))
            elif reframed and unit.old_frame:
                changes.append(Change(*unit.place(OLD_FRAME_WORD), FRAME))
            elif (
                self.hand.random() < numbers.REWORD
                and (other := reworded(text[unit.start : unit.end])) != text[unit.start : unit.end]
            ):
                changes.append(Change(unit.start, unit.end, other, founded=False))
        body = applied(text, _apart(changes), 0, len(text))
        return self._with_recalled(body) if self.request.goal == "generate" else body

    def _with_recalled(self, body: str) -> str:
        """Rules of earlier prompts that are missing here, where those prompts scored no worse than the rest."""
        here = {u.topic for u in units_of(body)}
        shown = [h for h in self.request.history if "prompt" in h]
        best = max((h.get("score", 0) for h in shown), default=0)
        extra: list[str] = []
        for item in (h for h in shown if h.get("score", 0) >= best - 2):
            text = str(item["prompt"])
            for unit in units_of(text):
                if unit.topic and unit.value and unit.topic not in here and self.hand.random() < numbers.RECALL:
                    here.add(unit.topic)
                    extra.append(text[unit.start : unit.end].strip())
        if not extra:
            return body
        at = units_of(body)[-2].end if len(units_of(body)) > 1 else 0
        return f"{body[:at]} {' '.join(extra)}{body[at:]}"

    def _induced(self) -> str:
        known: dict[str, str] = {}
        for row in self.request.formats:
            for t, v in zip(
                topics_in(str(row["inputs"].get("text", ""))),
                str(row["expected"].get("answer", "")).split(),
                strict=False,
            ):
                if self.thought.random() < self._skill:
                    known.setdefault(t, v)
        return " ".join(starmap(self._rule, known.items())) or "Answer the case."


def applied(text: str, changes: Sequence[Change], start: int, end: int) -> str:
    """`text[start:end]` with the changes made that lie inside.

    Args:
        text: The prompt.
        changes: Changes by offsets of `text`; of overlapping ones the first counts.
        start: Where the stretch begins.
        end: Where it ends.
    """
    out, at = [], start
    for change in sorted(changes, key=lambda ch: (ch.start, ch.end)):
        if change.start >= at and change.end <= end:
            out += [text[at : change.start], change.new]
            at = change.end
    return "".join([*out, text[at:end]])


def _apart(changes: Sequence[Change]) -> list[Change]:
    """The changes that do not overlap an earlier one."""
    kept: list[Change] = []
    for ch in changes:
        apart = all(ch.end <= k.start or k.end <= ch.start for k in kept)
        if apart and (ch.start, ch.end) not in [(k.start, k.end) for k in kept]:
            kept.append(ch)
    return kept
