"""`freeze=`: text of a prompt that must not change, named by heading, pattern, role, message or prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from langchain_promptopt._text.document import covers, gaps, normal_ranges
from langchain_promptopt._text.words import slices
from langchain_promptopt.errors import ConfigError, PromptError, did_you_mean, nearest
from langchain_promptopt.types import ROLES, Message, Prompt, PromptSet, Range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

FORMS = 'Write "## Heading", "re:pattern", "role:human", "message:0" or "prompt:NAME"; "NAME:rule" for one prompt.'

_CODE = frozenset({"script", "pre", "style", "textarea"})
_HIDDEN = re.compile(rf"\s*<(?:!|\?|(?:{'|'.join(sorted(_CODE))})\b)", re.IGNORECASE)
"""HTML in which no headings are looked for: comments, declarations, code."""
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][\w.:-]*)(?:\s[^<>]*?)?(?P<empty>/?)>")
_IS_RULE = re.compile(r"#|re:|role:|message:")


@dataclass(frozen=True)
class Heading:
    """A Markdown heading with the range of its section: up to the next one of its level, or the closing tag."""

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
        raise PromptError(msg, where=", ".join(prompts.names), mend=mend)
    return prompts


def editable_text(prompts: PromptSet) -> str:
    """All text that may change, white space left out."""
    document = prompts.document
    free = gaps(document.frozen, len(document.text))
    return "".join("".join(slices(document.text, free)).split())


def headings(text: str) -> tuple[Heading, ...]:
    r"""The headings of a text, in order: `# A` as well as a line underlined with = or -.

    They are those that Markdown sees at the top level, and those between tags such as <rules>, where Markdown sees
    HTML up to the next blank line. A line in code, in a comment, in a list or in a quote is not a heading. A section
    between tags ends at the closing tag; headings between tags within a section do not end it.

    >>> [h.text for h in headings("# A\nx\n~~~\n# no\n~~~\nB\n---\n<rules>\n# C\n</rules>")]
    ['# A', '## B', '# C']
    """
    starts, tokens = _line_starts(text), _without_tags(text)
    titles: list[_Title] = []
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            titles.append((int(opening.tag[1]), " ".join(inline.content.split()), starts[opening.map[0]]))
    pairs = _tag_pairs(text, [_place(token, starts, len(text)) for token in tokens if _is_code(token)])
    inside = [_innermost(at, pairs) for _, _, at in titles]
    found = []
    for i, (level, name, at) in enumerate(titles):
        around = inside[i]
        end = around[1] if around else len(text)
        for (other, _, stop), where in zip(titles[i + 1 :], inside[i + 1 :], strict=True):
            if stop >= end or (other <= level and where == around):
                end = min(end, stop)
                break
        found.append(Heading(level, name, at, end))
    return tuple(found)


_Title: TypeAlias = tuple[int, str, int]
"""Level, title and where the heading begins."""


def _innermost(at: int, pairs: Sequence[Range]) -> Range | None:
    return max((pair for pair in pairs if pair[0] <= at < pair[1]), default=None)


def _tag_pairs(text: str, code: Sequence[Range]) -> list[Range]:
    """What stands between an opening tag and its closing tag, where they do not merely mention the tag.

    One of the two stands on lines of tags alone; the opening tag begins its line, or the closing one ends it.
    """
    open_tags: list[tuple[str, int, bool]] = []
    found = []
    for tag in _TAG.finditer(text):
        if tag["empty"] or covers(code, tag.start()):
            continue
        before, after = _around(text, tag)
        if not tag["close"]:
            if not before:
                open_tags.append((tag["name"], tag.end(), not after))
            continue
        at = max((i for i, opened in enumerate(open_tags) if opened[0] == tag["name"]), default=None)
        if at is None:
            continue
        _, start, alone = open_tags[at]
        if not after and (alone or not before):
            line = max(text.rfind("\n", 0, tag.start()), text.rfind("\r", 0, tag.start())) + 1
            found.append((start, max(start, tag.start() if text[line : tag.start()].strip() else line)))
            del open_tags[at:]
    return found


def _around(text: str, tag: re.Match[str]) -> tuple[str, str]:
    """What stands before and after a tag on its line, other tags left out."""
    before = re.split(r"[\r\n]", text[: tag.start()])[-1]
    after = re.split(r"[\r\n]", text[tag.end() :], maxsplit=1)[0]
    return _TAG.sub("", before).strip(), _TAG.sub("", after).strip()


def _without_tags(text: str) -> Sequence[Token]:
    """The text as Markdown sees it where tags do not hide what they enclose."""
    given = [text[a:b] for a, b in pairwise([*_line_starts(text), len(text)])]
    lines = list(given)
    while True:
        before = list(lines)
        tokens = _parsed("".join(lines))
        for token in tokens:
            first, last = token.map or (0, 0)
            if token.level == 0 and token.type == "html_block" and not _HIDDEN.match(token.content):
                lines[first:last] = [_end(line) if _tags_alone(line) else line for line in lines[first:last]]
                # A letter in place of the tag's first sign: the line is text then, and ends no sooner.
                lines[first] = lines[first].replace("<", "x", 1)
            elif token.level == 0 and token.type == "code_block" and _tag_above(given, first):
                indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
                lines[first:last] = [line.removeprefix(indent) for line in lines[first:last]]
        if lines == before:
            return tokens


def _end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _tags_alone(line: str) -> bool:
    names = {tag["name"].lower() for tag in _TAG.finditer(line)}
    return bool(names) and not names & _CODE and not _TAG.sub("", line).strip()


def _tag_above(lines: Sequence[str], at: int) -> bool:
    """Whether a line is the first below an opening tag: it is indented as XML is, and no code."""
    above = next((line.strip() for line in reversed(lines[:at]) if line.strip()), "")
    return _tags_alone(above) and not list(_TAG.finditer(above))[-1]["close"]


def _is_code(token: Token) -> bool:
    return token.level == 0 and token.type in {"fence", "code_block", "html_block"}


def _place(token: Token, starts: Sequence[int], length: int) -> Range:
    first, last = token.map or (0, 0)
    return starts[first], starts[last] if last < len(starts) else length


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
        names = prompts.names
        raise ConfigError(msg, where="freeze", mend=f"{did_you_mean(name, names)}There is: {', '.join(names)}.")
    msg = f"{rule!r} is not a known kind of freeze rule"
    raise ConfigError(msg, where="freeze", mend=FORMS)


def _freeze_section(prompts: PromptSet, rule: str) -> PromptSet:
    wanted = headings(rule)
    if len(wanted) != 1:
        msg = f"the freeze rule {rule!r} is not a Markdown heading"
        raise ConfigError(msg, where="freeze", mend=FORMS)
    ranges, known = [], list[str]()
    for prompt, i, message in _messages(prompts):
        found = headings(message.template)
        ranges.append((prompt, i, [(h.start, h.end) for h in found if h.key == wanted[0].key]))
        known += [h.text for h in found]
    near = nearest(rule, known, cutoff=0.0)
    mend = f"The nearest heading is {near!r}." if near else "The prompts have no headings."
    return _with_ranges(prompts, ranges, rule, mend)


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
    role = ROLES.get(value, value)

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
        known = {"role": roles, "message": [*map(str, range(most))], "prompt": [*prompts.names]}[kind]
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
