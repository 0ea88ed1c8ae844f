"""`freeze=`: text of a prompt that must not change, named by heading, pattern, role, message or prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from langchain_promptopt._text.document import gaps, normal_ranges
from langchain_promptopt._text.words import slices
from langchain_promptopt.errors import ConfigError, PromptError, did_you_mean, nearest
from langchain_promptopt.types import Message, Prompt, PromptSet, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from markdown_it.token import Token

FORMS = 'Write "## Heading", "re:pattern", "role:human", "message:0" or "prompt:NAME"; "NAME:rule" for one prompt.'

_HIDDEN = re.compile(r"\s*<(?:!|\?|(?:script|pre|style|textarea)\b)", re.IGNORECASE)
"""HTML in which no headings are looked for: comments, declarations, code."""
_IS_RULE = re.compile(r"#|re:|role:|message:")
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

    @property
    def key(self) -> tuple[int, str]:
        """What makes two headings the same: letter case does not tell them apart."""
        return self.level, self.title.casefold()


def resolve_freeze(prompts: PromptSet, rules: Sequence[str]) -> PromptSet:
    """The prompts with the rules' text frozen.

    Args:
        prompts: As found in the chain; what they freeze already stays frozen.
        rules: `## Heading` freezes the section, or all sections of that heading; `re:pattern` (dot matches
            newlines, `^` and `$` match at lines) freezes each match; `role:human`, `message:0` and
            `prompt:NAME` freeze whole messages. `NAME:rule` is a rule for the prompt of that name alone.

    Raises:
        ConfigError: A rule is malformed or matches nothing.
        PromptError: Nothing is left to edit.
    """
    for rule in rules:
        prompts = _apply(prompts, rule)
    if not editable_text(prompts):
        msg = "nothing is left to edit: all text is frozen or a variable"
        mend = "Remove a freeze rule." if rules else "Use a prompt that has text around its variables."
        raise PromptError(msg, where=", ".join(p.name for p in prompts), mend=mend)
    return prompts


def editable_text(prompts: PromptSet) -> str:
    """All text that may change, white space left out."""
    document = prompts.document
    free = gaps(document.frozen, len(document.text))
    return "".join("".join(slices(document.text, free)).split())


def headings(text: str) -> tuple[Heading, ...]:
    r"""The headings that Markdown sees at the top level, in order: `# A` as well as a line underlined with = or -.

    A line in code, in HTML, in a list or in a quote is not a heading.

    >>> [h.text for h in headings("# A\nx\n~~~\n# no\n~~~\nB\n---\ny\n# C")]
    ['# A', '## B', '# C']
    """
    return _sections(_titles(text), len(text))


def headings_in_tags(text: str) -> tuple[Heading, ...]:
    r"""Headings directly below a tag such as <rules>, where Markdown sees HTML up to the next blank line.

    Prompts are often written like that. The section ends where Markdown sees the next heading, so that too much
    is frozen rather than too little.

    >>> [h.text for h in headings_in_tags("<rules>\n## A\nx\n</rules>")]
    ['## A']
    """
    seen, starts = _titles(text), _line_starts(text)
    found = []
    for token in _parsed(text):
        if token.type == "html_block" and token.map and not _HIDDEN.match(token.content):
            first = starts[token.map[0] + 1] if token.map[0] + 1 < len(starts) else len(text)
            last = starts[token.map[1]] if token.map[1] < len(starts) else len(text)
            found += [(level, title, first + at) for level, title, at in _titles(text[first:last])]
    places = {at for _, _, at in found}
    both = sorted([*seen, *found], key=lambda title: title[2])
    return tuple(h for h in _sections(both, len(text), seen) if h.start in places)


_Title: TypeAlias = tuple[int, str, int]
"""Level, title and where the heading begins."""


def _titles(text: str) -> list[_Title]:
    starts = _line_starts(text)
    found: list[_Title] = []
    for opening, inline in pairwise(_parsed(text)):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            found.append((int(opening.tag[1]), " ".join(inline.content.split()), starts[opening.map[0]]))
    return found


def _sections(titles: Sequence[_Title], length: int, ends: Sequence[_Title] | None = None) -> tuple[Heading, ...]:
    """Each heading with its section, which ends before the next of `ends` of its level or above."""
    closing = titles if ends is None else ends
    found: list[Heading] = []
    for level, title, at in titles:
        found.append(
            Heading(
                level, title, at, next((stop for other, _, stop in closing if stop > at and other <= level), length)
            )
        )
    return tuple(found)


def _parsed(text: str) -> Sequence[Token]:
    from markdown_it import MarkdownIt  # loaded where a heading is named

    return MarkdownIt("commonmark").parse(text)


def _line_starts(text: str) -> list[int]:
    """Where each line begins, lines as Markdown counts them."""
    return [0, *(m.end() for m in re.finditer(r"\r\n?|\n", text))]


def _apply(prompts: PromptSet, rule: str) -> PromptSet:
    kind, _, value = rule.partition(":")
    for prompt in prompts:
        inner = rule.removeprefix(f"{prompt.name}:")
        if inner != rule and _IS_RULE.match(inner):
            (changed,) = _apply(PromptSet((prompt,)), inner)
            return PromptSet(tuple(changed if p.name == prompt.name else p for p in prompts))
    if rule.startswith("#"):
        return _freeze_section(prompts, rule)
    if kind == "re":
        return _freeze_matches(prompts, rule, value)
    if kind in {"role", "message", "prompt"} and value:
        return _freeze_messages(prompts, rule, kind, value)
    name, colon, inner = rule.partition(":")
    if colon and _IS_RULE.match(inner):
        msg = f"the freeze rule {rule!r} names a prompt that is not there"
        names = [p.name for p in prompts]
        raise ConfigError(msg, where="freeze", mend=f"{did_you_mean(name, names)}There is: {', '.join(names)}.")
    msg = f"{rule!r} is not a known kind of freeze rule"
    raise ConfigError(msg, where="freeze", mend=FORMS)


def _freeze_section(prompts: PromptSet, rule: str) -> PromptSet:
    wanted = headings(rule)
    if len(wanted) != 1:
        msg = f"the freeze rule {rule!r} is not a Markdown heading"
        raise ConfigError(msg, where="freeze", mend=FORMS)
    ranges = _under_heading(prompts, wanted[0].key, headings)
    if not any(sections for _, _, sections in ranges):
        # Only then: a heading that Markdown sees wins over one of the same name inside a tag.
        ranges = _under_heading(prompts, wanted[0].key, headings_in_tags)
    known = []
    for _, _, m in _messages(prompts):
        for h in (*headings(m.template), *headings_in_tags(m.template)):
            known.append(h.text)
    near = nearest(rule, known, cutoff=0.0)
    mend = f"The nearest heading is {near!r}." if near else "The prompts have no headings."
    return _with_ranges(prompts, ranges, rule, mend)


def _under_heading(
    prompts: PromptSet, key: tuple[int, str], read: Callable[[str], Sequence[Heading]]
) -> list[tuple[Prompt, int, list[Range]]]:
    """Where each message has sections of a heading.

    Args:
        prompts: The prompts.
        key: The heading's key.
        read: Finds the headings of a text.
    """
    found = []
    for prompt, i, message in _messages(prompts):
        found.append((prompt, i, [(h.start, h.end) for h in read(message.template) if h.key == key]))
    return found


def _freeze_matches(prompts: PromptSet, rule: str, source: str) -> PromptSet:
    try:
        pattern = re.compile(source, re.DOTALL | re.MULTILINE)
    except re.error as error:
        msg = f"the freeze rule {rule!r} is not a regular expression: {error}"
        raise ConfigError(msg, where="freeze") from error
    found = []
    for prompt, i, message in _messages(prompts):
        found.append((prompt, i, [match.span() for match in pattern.finditer(message.template)]))
    return _with_ranges(prompts, found, rule, "Patterns are searched in each message's template source.")


def _with_ranges(
    prompts: PromptSet, found: Sequence[tuple[Prompt, int, Sequence[Range]]], rule: str, mend: str
) -> PromptSet:
    ranges = {}
    for prompt, i, spans in found:
        ranges[prompt.name, i] = [(start, end) for start, end in spans if end > start]
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
        """Whether the rule names this message.

        Args:
            prompt: The message's prompt.
            index: Its place in the prompt, from 0.
            message: The message.
        """
        return {
            "role": message.role in {role, value},
            "message": value == str(index),
            "prompt": value == prompt.name,
        }[kind]

    if not any(chosen(*place) for place in _messages(prompts)):
        roles = sorted({m.role for _, _, m in _messages(prompts)})
        most = max((len(p.messages) for p in prompts), default=0)
        known = {"role": roles, "message": [*map(str, range(most))], "prompt": [p.name for p in prompts]}[kind]
        msg = f"the freeze rule {rule!r} matches nothing"
        raise ConfigError(msg, where="freeze", mend=f"There is: {', '.join(known)}.")
    made = []
    for prompt in prompts:
        messages = list(prompt.messages)
        for i, message in enumerate(messages):
            if chosen(prompt, i, message):
                messages[i] = replace(message, editable=False)
        made.append(replace(prompt, messages=tuple(messages)))
    return PromptSet(tuple(made))


def _messages(prompts: PromptSet) -> Iterator[tuple[Prompt, int, Message]]:
    for prompt in prompts:
        for i, message in enumerate(prompt.messages):
            yield prompt, i, message
