"""`freeze=`: which text of a prompt nobody may touch, by heading, pattern, role, message or name."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_promptopt._text.document import normal_ranges
from langchain_promptopt.errors import ConfigError, PromptError, nearest
from langchain_promptopt.types import Message, Prompt, PromptSet, Range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FORMS = 'Write "## Heading", "re:pattern", "role:human", "message:0" or "prompt:NAME".'

_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_ROLES = {"user": "human", "assistant": "ai"}


@dataclass(frozen=True)
class Heading:
    """A Markdown heading with the range of its section: up to the next one of its level or above."""

    level: int
    title: str
    start: int
    end: int

    @property
    def text(self) -> str:
        """As it is written in a rule."""
        return f"{'#' * self.level} {self.title}"


def resolve_freeze(prompts: PromptSet, rules: Sequence[str]) -> PromptSet:
    """The prompts with the rules' text frozen.

    Args:
        prompts: As found in the chain; what they freeze already stays frozen.
        rules: `## Heading` freezes the section; `re:pattern` (dot matches newlines, `^` and `$`
            match at lines) freezes each match; `role:human`, `message:0` and `prompt:NAME`
            freeze whole messages.

    Raises:
        ConfigError: A rule is malformed or matches nothing.
        PromptError: Nothing is left to edit.
    """
    for rule in rules:
        prompts = _apply(prompts, rule)
    if not editable_text(prompts):
        msg = "nothing is left to edit: all text is frozen or a variable"
        mend = "Remove a freeze rule." if rules else "Give a prompt with words of its own around its variables."
        raise PromptError(msg, where=", ".join(p.name for p in prompts), mend=mend)
    return prompts


def editable_text(prompts: PromptSet) -> str:
    """All text that may change, white space left out."""
    document = prompts.document
    edges = [0, *(edge for start, end in document.frozen for edge in (start, end)), len(document.text)]
    return "".join("".join(document.text[a:b].split()) for a, b in zip(edges[::2], edges[1::2], strict=True))


def headings(text: str) -> tuple[Heading, ...]:
    r"""Markdown headings outside code fences, in order.

    >>> [h.text for h in headings("# A\nx\n## B\ny\n# C")]
    ['# A', '## B', '# C']
    """
    found: list[tuple[int, str, int]] = []
    fence, at = "", 0
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        heading = None if fence or mark else _HEADING.match(line.rstrip("\r\n"))
        if heading:
            found.append((len(heading[1]), " ".join(heading[2].split()), at))
        at += len(line)
    return tuple(
        Heading(level, title, start, next((s for lv, _, s in found[i + 1 :] if lv <= level), len(text)))
        for i, (level, title, start) in enumerate(found)
    )


def _apply(prompts: PromptSet, rule: str) -> PromptSet:
    kind, _, value = rule.partition(":")
    if rule.startswith("#"):
        return _freeze_section(prompts, rule)
    if kind == "re":
        return _freeze_matches(prompts, rule, value)
    if kind in {"role", "message", "prompt"} and value:
        return _freeze_messages(prompts, rule, kind, value)
    msg = f"the freeze rule {rule!r} is none we know"
    raise ConfigError(msg, where="freeze", mend=FORMS)


def _freeze_section(prompts: PromptSet, rule: str) -> PromptSet:
    wanted = _HEADING.match(rule)
    if wanted is None:
        msg = f"the freeze rule {rule!r} is no Markdown heading"
        raise ConfigError(msg, where="freeze", mend=FORMS)
    key = (len(wanted[1]), " ".join(wanted[2].split()).casefold())

    def ranges(message: Message) -> list[Range]:
        return [(h.start, h.end) for h in headings(message.template) if (h.level, h.title.casefold()) == key]

    known = [h.text for _, _, m in _messages(prompts) for h in headings(m.template)]
    near = nearest(rule, known, cutoff=0.0)
    mend = f"The nearest heading is {near!r}." if near else "The prompts have no headings."
    return _with_ranges(prompts, [(p, i, ranges(m)) for p, i, m in _messages(prompts)], rule, mend)


def _freeze_matches(prompts: PromptSet, rule: str, source: str) -> PromptSet:
    try:
        pattern = re.compile(source, re.DOTALL | re.MULTILINE)
    except re.error as error:
        msg = f"the freeze rule {rule!r} is no regular expression: {error}"
        raise ConfigError(msg, where="freeze") from error
    found = [(p, i, [m.span() for m in pattern.finditer(message.template)]) for p, i, message in _messages(prompts)]
    return _with_ranges(prompts, found, rule, "Patterns are searched in each message's template source.")


def _with_ranges(
    prompts: PromptSet, found: Sequence[tuple[Prompt, int, Sequence[Range]]], rule: str, mend: str
) -> PromptSet:
    ranges = {(p.name, i): [r for r in spans if r[1] > r[0]] for p, i, spans in found}
    if not any(ranges.values()):
        msg = f"the freeze rule {rule!r} matches nothing"
        raise ConfigError(msg, where="freeze", mend=mend)
    made = []
    for prompt in prompts:
        messages = []
        for i, message in enumerate(prompt.messages):
            frozen = normal_ranges([*message.frozen, *ranges[prompt.name, i]], len(message.template))
            messages.append(replace(message, frozen=frozen))
        made.append(replace(prompt, messages=tuple(messages)))
    return PromptSet(tuple(made))


def _freeze_messages(prompts: PromptSet, rule: str, kind: str, value: str) -> PromptSet:
    value = value.strip()
    role = _ROLES.get(value, value)

    def chosen(prompt: Prompt, index: int, message: Message) -> bool:
        return {
            "role": message.role in {role, value},
            "message": value == str(index),
            "prompt": value == prompt.name,
        }[kind]

    if not any(chosen(*place) for place in _messages(prompts)):
        known = {
            "role": sorted({m.role for _, _, m in _messages(prompts)}),
            "message": [str(i) for i in range(max((len(p.messages) for p in prompts), default=0))],
            "prompt": [p.name for p in prompts],
        }[kind]
        msg = f"the freeze rule {rule!r} matches nothing"
        raise ConfigError(msg, where="freeze", mend=f"There is: {', '.join(known)}.")
    return PromptSet(
        tuple(
            replace(
                p,
                messages=tuple(replace(m, editable=False) if chosen(p, i, m) else m for i, m in enumerate(p.messages)),
            )
            for p in prompts
        )
    )


def _messages(prompts: PromptSet) -> Iterator[tuple[Prompt, int, Message]]:
    for prompt in prompts:
        for i, message in enumerate(prompt.messages):
            yield prompt, i, message
