"""`demos`: train examples that the found prompt answers right, shown in the prompt, where that helps on dev examples.

It comes after the search, so that the examples fit the instruction that was found. Sets of examples are candidates
like any other: one edit, which inserts a block into one message; LOCAL and VARS hold; the budget, `max_tokens`,
`must_pass` and the gate decide about them. Examples of dev, val and test are never shown: the pool is the train split,
without those that share their input or group with one of dev or val; one that shares it with test is an error at the
door.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING

from langchain_promptopt._collections import ids_of, pick
from langchain_promptopt._runtime.concurrency import together
from langchain_promptopt._text.lint import check_replacement
from langchain_promptopt._text.spans import kept_outside
from langchain_promptopt._text.templates import escape, same_code
from langchain_promptopt.errors import BudgetSpent, ConfigError
from langchain_promptopt.events import Incident, Proposed, Rejected
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.recipe import DRAWS, OTHERS, POOL
from langchain_promptopt.types import FULL, Attempt, Candidate, Edit, Example, Rejection, Span, answer_of
from langchain_promptopt.types.outcomes import CUT
from langchain_promptopt.types.plain_value import is_message, role_of
from langchain_promptopt.types.prompts import DESCRIPTIONS, replacements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_promptopt._engine.context import Run
    from langchain_promptopt._engine.evaluations import Demands, Evaluations
    from langchain_promptopt._engine.search import SearchEnd
    from langchain_promptopt._runtime.ledger import Spending
    from langchain_promptopt.recipe import Demos
    from langchain_promptopt.types import Outcome, Prompt, PromptSet

_CLAIM = "demonstrations"
"""Under this name calls for demonstrations are set aside on the ledger."""
_OPEN, _CLOSE = "<examples>", "</examples>"
_HOW = {
    "random": "the best of several sets drawn at random",
    "similar": "those most like the ones that it gets wrong",
    "gain": "those that alone gain most on others",
}
_MARKS = (_OPEN, _CLOSE, "<example>", "</example>")


# ---------------------------------------------------------------- the block in the prompt


@dataclass(frozen=True)
class Demo:
    """One train example that may be shown, as it may be kept, and its text in the block."""

    example: Example
    text: str


def shown_text(example: Example, names: Sequence[str], answer: object) -> str:
    """One demonstration as plain text: what goes in, and what the prompt answered.

    Args:
        example: The example.
        names: Variables of the prompt; inputs of other names are left out where any has such a name.
        answer: The right answer that the prompt gave.

    >>> print(shown_text(Example("1", {"q": "1 + 1"}, {"answer": 2}), ["q"], "2"))
    <example>
    q: 1 + 1
    answer: 2
    </example>
    """
    inputs = {n: v for n, v in example.inputs.items() if n in names} or example.inputs
    lines = [f"{name}: {_said(_conversation(value))}" for name, value in inputs.items()]
    return "\n".join(("<example>", *lines, f"answer: {_said(_right(example, answer))}", "</example>"))


def said_by(name: str, outcome: Outcome) -> object:
    """What a prompt answered: in an app of several steps its own answer, where it gave one and that was kept whole.

    Args:
        name: The prompt's name.
        outcome: What became of an example.
    """
    mine = [step.answer for step in outcome.steps if step.kind == "prompt" and step.name == name]
    return mine[0] if len(mine) == 1 and CUT not in str(mine[0]) else outcome.output


def _right(example: Example, answer: object) -> object:
    """What was answered; of a whole state, the fields that the reference has; without an answer, the reference."""
    expected = dict(example.outputs)
    if isinstance(answer, Mapping) and expected.keys() < answer.keys():
        answer = {name: answer[name] for name in expected}
        return next(iter(answer.values())) if len(answer) == 1 else answer or None
    if answer not in (None, ""):
        return answer
    return next(iter(expected.values())) if len(expected) == 1 else expected


def _conversation(value: object) -> object:
    """Messages as pairs of role and text, one alone as its text; anything else as it is."""
    if not isinstance(value, list | tuple) or not value or not all(map(is_message, value)):
        return value
    if len(value) == 1:
        return answer_of(value[0])
    return [{str(role_of(message)): answer_of(message)} for message in value]


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(answer_of(value), ensure_ascii=False, default=str)


def block_place(prompt: Prompt, place: str = "auto") -> tuple[int, int] | None:
    """Message and offset where a block of examples may stand; None where no text may change.

    A system message comes first, at its end; else the first message that may change, before its first variable and
    the lines that announce it. Both lie outside of the sections and loops of a template.

    Args:
        prompt: The prompt.
        place: "start" or "end" of the message instead; "auto" as above.
    """
    free = [i for i, m in enumerate(prompt.messages) if m.editable and m.role not in {"ai", "assistant", "examples"}]
    for i in sorted(free, key=lambda i: prompt.messages[i].role != "system"):
        message = prompt.messages[i]
        text = message.template
        code = [a.start for a in message.parsed.atoms if a.kind != "escape"]
        before = _announced(text, code[0]) if code else len(text)
        own = len(text) if message.role == "system" else before
        for at in {"start": (0,), "end": (len(text),)}.get(place, (own, 0, len(text))):
            if not any(a < at < b for a, b in (*message.frozen, *message.parsed.atom_ranges)):
                return i, at
    return None


_ANNOUNCES = re.compile(r"""(?:.*:|\#.*|<[^/<>][^<>]*>|`{3,}\w*|\"{3})[*_]*""")
"""A line that says what comes below it: a label, a heading, an opening tag or fence."""


def _announced(text: str, variable: int) -> int:
    """Start of the lines that a variable stands in, a label or heading above it included."""
    at = text.rfind("\n", 0, variable) + 1
    while lead := text[:at].rstrip():
        start = lead.rfind("\n") + 1
        if _ANNOUNCES.fullmatch(lead[start:].strip()) is None:
            break
        at = start
    return at


def block_edit(prompt: Prompt, texts: Mapping[str, str], demos: Demos) -> Edit | Rejection:
    """The edit that inserts demonstrations into a prompt; a Rejection where there is no place for them.

    Args:
        prompt: The prompt.
        texts: The demonstrations, as `shown_text` gives them, by the ids of their examples.
        demos: How they were chosen, and where they go.
    """
    found = block_place(prompt, demos.place)
    if found is None:
        return Rejection("demos", f"prompt {prompt.name!r} has no text that may change")
    index, at = found
    message = prompt.messages[index]
    block = escape("\n".join((_OPEN, *texts.values(), _CLOSE)), message.template_format)
    if isinstance(block, Rejection):
        return block
    ahead = message.template[:at]
    head = "" if not at or ahead.endswith("\n\n") else "\n" if ahead.endswith("\n") else "\n\n"
    tail = "\n\n" if at < len(message.template) else ""
    reason = (
        f"{len(texts)} train example{'' if len(texts) == 1 else 's'} that the prompt answers right, {_HOW[demos.how]}"
    )
    return Edit(Span(prompt.name, index, at, at), "", f"{head}{block}{tail}", reason, tuple(texts))


def may_be_shown(text: str, prompt: Prompt, place: str = "auto") -> bool:
    """Whether a text can stand in the block: no mark of it, no role at a line's start, no template code.

    Args:
        text: A demonstration, as `shown_text` gives it.
        prompt: The prompt that is to hold it.
        place: Where it goes.
    """
    inner = text.removeprefix("<example>\n").removesuffix("\n</example>")
    found = block_place(prompt, place)
    if found is None or any(mark in inner for mark in _MARKS):
        return False
    said = check_replacement("", inner, bounded=False)
    return said is None and isinstance(escape(text, prompt.messages[found[0]].template_format), str)


def block_refusal(parent: PromptSet, child: PromptSet, edit: Edit) -> Rejection | None:
    """LOCAL and VARS of an inserted block: all other text and all template code are the parent's.

    Args:
        parent: The prompts without the block.
        child: The prompts with it.
        edit: What inserts it.
    """
    changed = replacements([edit])
    for old, new in zip(parent, child, strict=True):
        for i, (before, after) in enumerate(zip(old.messages, new.messages, strict=True)):
            if not kept_outside(before.template, changed.get((old.name, i), ()), after.template):
                return Rejection("local", "text outside the demonstrations differs from the parent")
            if (code := same_code(before.parsed, after.template)) is not None:
                return Rejection("vars", f"prompt {old.name!r}: {code.rule}: {code.detail}")
    return None


def nearest_demos(pool: Sequence[Demo], wrong: Sequence[Example], number: int) -> list[Demo]:
    """Examples of the pool that are most like those the prompt gets wrong, each near another of them.

    Args:
        pool: Demonstrations that may be shown.
        wrong: Examples that it gets wrong; where there are none, the first of the pool are taken.
        number: How many are wanted.
    """
    from rapidfuzz import fuzz

    chosen: list[Demo] = []
    left = list(pool)
    while left and len(chosen) < number:
        text = _text_of(wrong[len(chosen) % len(wrong)] if wrong else left[0].example)
        best = max(left, key=lambda demo: fuzz.token_sort_ratio(_text_of(demo.example), text))
        chosen.append(best)
        left.remove(best)
    return chosen


def _text_of(example: Example) -> str:
    return " ".join(map(_said, example.inputs.values()))


# ---------------------------------------------------------------- the stage of a run


@dataclass
class Demonstrating:
    """Looks for demonstrations that raise the score of what one search found."""

    run: Run
    evaluations: Evaluations
    spending: Spending

    def reserve(self) -> None:
        """Set its calls aside before the search, which would spend a budget to its end."""
        if (demos := self.run.demos) is not None and not already(self.run.baseline.prompts, demos):
            dev = len(self.run.data["dev"])
            cells = demos.cells(len(self.run.data["train"]), dev + len(self.run.data["val"]))
            self.spending.set_aside(_CLAIM, cells, first=dev)

    async def shown(self, found: SearchEnd, demands: Demands) -> SearchEnd:
        """What the search found, its best with demonstrations where they raise its score."""
        demos = self.run.demos
        if demos is None:
            return found
        self.spending.set_aside(_CLAIM, 0)
        if name := already(found.best.candidate.prompts, demos):
            self._report(
                f"prompt {name!r} has {_OPEN} already, so demos changed nothing; take that block out to have new"
                " examples chosen"
            )
            return found
        if (host := _host(found.best.candidate.prompts, demos)) not in hosts_of(found.best.candidate.prompts):
            self._report(f"no example renders prompt {host.name!r}, so it shows none")
            return found
        if found.best.score >= FULL or not found.best.by_example:
            why = "is right on every dev example" if found.best.by_example else "was scored on no dev example"
            self._report(f"the prompt {why}, so demonstrations could not raise its score")
            return found
        try:
            best = await self._best(found, await self._children(found, demos), demands)
        except BudgetSpent as spent:
            self._report(f"the budget ended before demonstrations were chosen ({spent})")
            best = None
        finally:
            self.spending.release(_CLAIM)
        return found if best is None else replace(found, best=best, trajectory=(*found.trajectory, best))

    async def _children(self, found: SearchEnd, demos: Demos) -> list[Candidate]:
        """Candidates with demonstrations, journaled."""
        parent = found.best.candidate
        prompt = _host(parent.prompts, demos)
        ids = ids_of(self.run.data["train"])
        rng_at(self.run.seed, _CLAIM).shuffle(ids)
        ids = ids[:POOL]
        if not await self._asked([parent], "train", ids):
            self._report(f"the budget does not reach for {len(ids)} train examples")
            return []
        scores = self.evaluations.scores(parent, "train")
        right = [i for i in ids if scores.get(i, 0.0) >= FULL]
        pool = list(self._pool(parent, prompt, right, demos))
        wrong = [self.run.shown(self.run.examples("train")[i]) for i in ids if scores.get(i, 1.0) < FULL]
        if not pool:
            told = f"the prompt answers {len(right)} of {len(ids)} train examples right, and none of them can be shown"
            self._report(f"{told}: {_UNFIT}" if right else told)
            return []
        made: dict[str, Candidate] = {}
        for chosen in await self._sets(parent, prompt, pool, wrong):
            child = self._child(parent, prompt, chosen)
            if child is not None and child.id not in made:
                made[child.id] = child
                self.run.emit(Proposed.of(child, parent_id=parent.id))
        return list(made.values())

    async def _sets(
        self, parent: Candidate, prompt: Prompt, pool: Sequence[Demo], wrong: Sequence[Example]
    ) -> list[Sequence[Demo]]:
        """The sets of demonstrations to try."""
        demos = self._demos
        n = min(demos.number, len(pool))
        if demos.how == "similar":
            return [nearest_demos(pool, wrong, n)]
        if demos.how == "gain":
            return await self._by_gain(parent, prompt, pool, ids_of(wrong))
        draws: list[Sequence[Demo]] = []
        for draw in range(DRAWS):
            numbers = rng_at(self.run.seed, _CLAIM, draw).sample(range(len(pool)), n)
            draws.append([pool[i] for i in sorted(numbers)])
        return draws

    async def _by_gain(
        self, parent: Candidate, prompt: Prompt, pool: Sequence[Demo], wrong: Sequence[str]
    ) -> list[Sequence[Demo]]:
        """Those that alone gain most on other train examples, the best first; none where none gains."""
        tried = list(pool)[: self._demos.measured]
        others = _others(wrong, [d.example.id for d in pool[len(tried) :]])
        pairs = []
        for demo in tried:
            if (child := self._child(parent, prompt, [demo])) is not None:
                pairs.append((demo, child))
                self.run.emit(Proposed.of(child, parent_id=parent.id))
        if not pairs:
            return []
        if not others or not await self._asked([child for _, child in pairs], "train", others):
            why = "the budget does not reach" if others else "no other train example is left"
            self._report(f"the gain of single demonstrations was not measured: {why}")
            return []
        before, gains = self.evaluations.scores(parent, "train"), []
        for demo, child in pairs:
            after = self.evaluations.scores(child, "train")
            gains.append((fmean(after.get(i, 0.0) - before.get(i, 0.0) for i in others), demo))
        best = [demo for gain, demo in sorted(gains, key=lambda g: -g[0]) if gain > 0][: self._demos.number]
        if not best:
            self._report(f"none of {len(pairs)} demonstrations alone gains on {len(others)} other train examples")
        return [best] if best else []

    @property
    def _demos(self) -> Demos:
        assert self.run.demos is not None  # noqa: S101 - for the type checker
        return self.run.demos

    def _pool(self, parent: Candidate, prompt: Prompt, right: Sequence[str], demos: Demos) -> Iterator[Demo]:
        """Train examples that may be shown, of those that the prompt answers right.

        Examples that are one row to the prompts have one group, whatever their ids are. The test stays sealed: what
        train shares with it is an error at the door.
        """
        elsewhere = {e.group for e in (*self.run.data["dev"], *self.run.data["val"])} - {None}
        known = self.evaluations.known(parent, "train")
        texts = set[str]()
        for i in right:
            row = self.run.examples("train")[i]
            shown = self.run.shown(row)
            text = shown_text(shown, prompt.variables, said_by(prompt.name, known[i][0]))
            if row.group not in elsewhere and text not in texts and may_be_shown(text, prompt, demos.place):
                texts.add(text)
                yield Demo(shown, text)

    def _child(self, parent: Candidate, prompt: Prompt, chosen: Sequence[Demo]) -> Candidate | None:
        """The candidate that shows these, or the first of them where more are too long.

        None where the guards refuse even the first; that is journaled.
        """
        refused: Rejection | None = None
        for n in range(len(chosen), 0, -1):
            edit = block_edit(prompt, {d.example.id: d.text for d in chosen[:n]}, self._demos)
            if isinstance(edit, Rejection):
                refused = edit
                break
            prompts = parent.prompts.apply([edit])
            refused = block_refusal(parent.prompts, prompts, edit) or self.run.renders(prompts)
            if refused is None:
                return Candidate(
                    prompts,
                    step=self.run.state.step,
                    origin=_CLAIM,
                    scope="fixed_spans",
                    parents=(parent.id,),
                    edits=(edit,),
                    enforced=parent.enforced,
                )
            if refused.rule != "max_tokens":
                break
        if refused is not None:
            self.run.emit(Rejected.of(refused, parent_id=parent.id, step=self.run.state.step))
            self._report(f"a set of {len(chosen)} could not be shown ({refused.rule}: {refused.detail})")
        return None

    async def _best(self, found: SearchEnd, children: Sequence[Candidate], demands: Demands) -> Attempt | None:
        """The child that scores most on the rows of the search's best, where that is more than the best itself."""
        kept, out = await demands.kept(children)
        ids = list(found.best.by_example)
        if not kept:
            if out:
                self._report(f"every set breaks an example of must_pass: the prompt {next(iter(out.values()))}")
            return None
        if not await self._asked(kept, "dev", ids):
            self._report(f"the budget does not reach for {len(ids)} dev examples")
            return None
        before, attempts = found.best.score, list[Attempt]()
        for child in kept:
            scores = self.evaluations.scores(child, "dev")
            seen = pick(scores, ids)
            attempts.append(Attempt(child, fmean(seen.values()) if seen else 0.0, seen))
        best = max(attempts, key=lambda a: a.score)
        if best.score <= before:
            told = f"{100 * best.score:.1f}, without {100 * before:.1f}"
            self._report(f"with train examples in the prompt the dev score is {told}, so none is shown")
            return None
        if not await self._holds_on_val(found.best.candidate, best.candidate, demands):
            return None
        if not self.spending.learn_rival(
            list(chain.from_iterable(self.evaluations.known(best.candidate, "dev").values()))
        ):
            self._report("the budget does not reach for a test of the prompt with demonstrations, which is longer")
            return None
        return best

    async def _holds_on_val(self, parent: Candidate, child: Candidate, demands: Demands) -> bool:
        """Whether val, where there is one, does not say that the child is worse."""
        ids = ids_of(self.run.data["val"])
        if not ids or not await self._asked([parent, child], "val", ids):
            return True
        old, new = (self.evaluations.scores(c, "val") for c in (parent, child))
        if demands.passes(child, "val") and fmean(new.values() or [0.0]) >= fmean(old.values() or [0.0]):
            return True
        self._report("with demonstrations the val score falls, or an example of must_pass breaks")
        return False

    async def _asked(self, candidates: Sequence[Candidate], split: str, ids: Sequence[str]) -> bool:
        """Run candidates on examples; False where the budget does not reach."""
        missing = 0
        for c in candidates:
            missing += len(set(ids) - set(self.evaluations.ids(c, split)))
        if missing and not self.spending.claim(_CLAIM, cells=missing):
            return False
        await together(self.evaluations.settle(c, split, ids) for c in candidates)
        self.spending.release(_CLAIM)
        return True

    def _report(self, detail: str) -> None:
        self.run.emit(Incident(role="method", kind="demos", retryable=False, action="no demonstrations", detail=detail))
        self.run.state.remarks += (f"demos: {detail}",)


_UNFIT = "they stand in dev or val, too, or hold template code, marks of the block, or the start of a chat turn"


def _others(wrong: Sequence[str], right: Sequence[str]) -> list[str]:
    """The train examples on which single demonstrations are measured: half of each kind, as far as there are."""
    most = OTHERS - min(len(right), OTHERS // 2)
    return [*wrong[:most], *right[: OTHERS - len(wrong[:most])]]


# ---------------------------------------------------------------- which prompt shows them


def hosts_of(prompts: PromptSet) -> list[Prompt]:
    """The prompts that can hold demonstrations: sent, editable, and no description of a tool or schema."""
    found = []
    for p in prompts.awake:
        if not p.name.startswith(DESCRIPTIONS) and block_place(p) is not None:
            found.append(p)
    return found


def _host(prompts: PromptSet, demos: Demos) -> Prompt:
    able = hosts_of(prompts)
    if demos.prompt is not None:
        return prompts[demos.prompt]
    return able[0] if able else next(iter(prompts))


def already(prompts: PromptSet, demos: Demos | None) -> str | None:
    """Name of the prompt that is to show demonstrations, where it has a block of them; else None."""
    if demos is None:
        return None
    host = _host(prompts, demos)
    return host.name if any(_OPEN in m.template for m in host.messages) else None


def check_host(prompts: PromptSet, demos: Demos | None, train: int) -> None:
    """Refuse demos where there is no train example, or where it is not clear which prompt shows them.

    Args:
        prompts: The user's prompts.
        demos: The setting; None is off.
        train: Train examples.

    Raises:
        ConfigError: With what to write.
    """
    if demos is None:
        return
    if not train:
        msg = "demos shows train examples, and there is none"
        raise ConfigError(msg, mend="Give a train split, or leave demos out.")
    wanted, able = demos.prompt, [p.name for p in hosts_of(prompts)]
    if wanted in able or (wanted is None and len(able) == 1):
        return
    if not able:
        msg, mend = "demos needs a prompt with text that may change, and there is none", "Freeze less."
    elif wanted is None:
        msg = f"demos goes into one prompt, and several could show it: {', '.join(map(repr, able))}"
        mend = (
            f"Name it: demos=Demos(prompt={able[-1]!r}), with Demos from langchain_promptopt.settings, or"
            f' `prompt = "{able[-1]}"` under [optimize.demos] in promptopt.toml.'
        )
    else:
        msg = f"demos.prompt is {wanted!r}; prompts that can show demonstrations are {', '.join(map(repr, able))}"
        mend = "Name one of those."
    raise ConfigError(msg, mend=mend)
