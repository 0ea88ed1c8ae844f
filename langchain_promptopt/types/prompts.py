"""Prompt, span, edit, candidate: the text under optimization. All frozen; identity comes from content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_promptopt._collections import all_as_json
from langchain_promptopt._text.document import Document, Piece
from langchain_promptopt._text.spans import shifted, splice
from langchain_promptopt._text.templates import Template, TemplateFormat, parse_template
from langchain_promptopt._text.words import count_tokens
from langchain_promptopt._values import content_hash
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_promptopt._text import Range
    from langchain_promptopt._text.spans import Replacement

DESCRIPTIONS = ("tool:", "schema:")
"""How the names of prompts begin that describe a tool, an argument, an answer or a field of it: `tool:price.item`."""

ScopeName: TypeAlias = Literal["global", "section", "message", "spans", "random_spans", "fixed_spans"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of one message template, in code points, end exclusive. Empty is an insertion point."""

    prompt: str
    message: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement of `old` at `span` by `new`; `reason` and `example_ids` say why."""

    span: Span
    old: str
    new: str
    reason: str = ""
    example_ids: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The edit as journal, report and machine output show it."""
        return {
            "prompt": self.span.prompt,
            "message": self.span.message,
            "start": self.span.start,
            "end": self.span.end,
            "old": self.old,
            "new": self.new,
            "reason": self.reason,
            "example_ids": list(self.example_ids),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Edit:
        """The inverse of `as_json`."""
        span = Span(data["prompt"], data["message"], data["start"], data["end"])
        return cls(span, data["old"], data["new"], data.get("reason", ""), tuple(data.get("example_ids", ())))


def replacements(edits: Iterable[Edit]) -> dict[tuple[str, int], list[Replacement]]:
    """What `edits` put where, by prompt and message."""
    found: dict[tuple[str, int], list[Replacement]] = {}
    for edit in edits:
        span = edit.span
        found.setdefault((span.prompt, span.message), []).append((span.start, span.end, edit.new))
    return found


@dataclass(frozen=True)
class Message:
    """One message of a prompt: its role and template source.

    `template_format` "literal" marks a message object that is no template: all text, no
    variables. `frozen` ranges are the user's; atoms (variables, blocks, brace escapes) are
    frozen always. `editable=False` freezes all of it (placeholders, tool and few-shot blocks).
    """

    role: str
    template: str
    template_format: TemplateFormat = "f-string"
    frozen: tuple[Range, ...] = ()
    editable: bool = True

    @cached_property
    def parsed(self) -> Template:
        """Text and atoms of the template. Raises PromptError where it does not parse."""
        return parse_template(self.template, self.template_format)

    def spliced(self, edits: Sequence[Replacement]) -> Message:
        """This message with the ranges replaced; frozen ranges move along. Raises PromptError where edits overlap."""
        try:
            text = splice(self.template, edits)
        except ValueError as error:
            raise PromptError(str(error)) from None
        return replace(self, template=text, frozen=tuple(shifted(place, edits) for place in self.frozen))


@dataclass(frozen=True)
class Prompt:
    """A chat or string prompt: named, with ordered messages. `partials` are already-bound variables."""

    name: str
    messages: tuple[Message, ...]
    source: str = ""
    partials: tuple[str, ...] = ()
    kind: Literal["chat", "string"] = "chat"
    idle: bool = False
    """Whether it is a text of the program that was not yet seen in what is sent: it is neither shown nor saved."""

    replaces: str = ""
    """`digest` of the prompt that this one was saved to replace; "" where that is not known."""

    @cached_property
    def digest(self) -> str:
        """Hash of its texts; few-shot blocks, which belong to the program, do not count."""
        return content_hash([m.template for m in self.messages if m.role != "examples"])

    @cached_property
    def tokens(self) -> int:
        """About how many tokens its messages have, variables unfilled."""
        return sum(count_tokens(m.template) for m in self.messages)

    @property
    def roles(self) -> list[str]:
        """The role of each message."""
        return [m.role for m in self.messages]

    @property
    def texts(self) -> list[str]:
        """The template text of each message."""
        return [m.template for m in self.messages]

    @property
    def template_format(self) -> TemplateFormat:
        """The format of the first message that is a template."""
        formats = []
        for m in self.messages:
            if m.template_format != "literal":
                formats.append(m.template_format)
        return formats[0] if formats else "literal"

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Sorted names a caller must supply, partials left out."""
        names: set[str] = set()
        for m in self.messages:
            names.update(m.parsed.variables)
        return tuple(sorted(names - set(self.partials)))

    @cached_property
    def signature(self) -> tuple[tuple[str, ...], ...]:
        """Per message the raw atoms in order: what VARS keeps."""
        return tuple(m.parsed.signature for m in self.messages)

    def as_json(self) -> dict[str, Any]:
        """The prompt as `run.started` and `proposed` carry it."""
        usual = self.template_format
        messages = []
        for m in self.messages:
            own = {} if m.template_format == usual else {"template_format": m.template_format}
            messages.append({"role": m.role, "template": m.template, **own})
        return {
            "name": self.name,
            "source": self.source,
            "template_format": usual,
            "messages": messages,
            "variables": list(self.variables),
        } | ({"idle": True} if self.idle else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Prompt:
        """The inverse of `as_json`; what stands in a template and is no variable was bound already.

        >>> prompt = Prompt("p", (Message("human", "{day}: {q}"),), partials=("day",))
        >>> Prompt.from_json(prompt.as_json()) == prompt
        True
        """
        usual = data.get("template_format", "f-string")
        messages = []
        for m in data["messages"]:
            messages.append(_parsable(Message(m["role"], m["template"], m.get("template_format", usual))))
        prompt = cls(data["name"], tuple(messages), data.get("source", ""), idle=bool(data.get("idle")))
        bound = set(prompt.variables).difference(data.get("variables", prompt.variables))
        return replace(prompt, partials=tuple(sorted(bound)))


def _parsable(message: Message) -> Message:
    """The message as it is, or as plain text where its template does not parse: a changed record can still be shown."""
    try:
        message.parsed  # noqa: B018 - read for the error it raises
    except PromptError:
        return replace(message, template_format="literal")
    return message


@dataclass(frozen=True)
class PromptSet:
    """All prompts of a candidate, by name, in a fixed order."""

    prompts: tuple[Prompt, ...]

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, name: str) -> Prompt:
        for prompt in self.prompts:
            if prompt.name == name:
                return prompt
        raise KeyError(name)

    @cached_property
    def id(self) -> str:
        """Hash of names, formats, roles, templates and partial names (product contract 10.5)."""
        parts = []
        for p in self.prompts:
            messages = [[m.role, m.template_format, m.template] for m in p.messages]
            parts.append([p.name, messages, sorted(p.partials)])
        return content_hash(parts)

    def changed_in(self, other: PromptSet) -> list[str]:
        """Names of the prompts here whose roles or texts are others there, or that are not there."""
        there = {p.name: (p.roles, p.texts) for p in other}
        return [p.name for p in self if there.get(p.name) != (p.roles, p.texts)]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the prompts, in their order."""
        return tuple(p.name for p in self.prompts)

    @property
    def awake(self) -> PromptSet:
        """Without those that are idle."""
        return PromptSet(tuple(p for p in self.prompts if not p.idle))

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of all prompts, one prompt after the other."""
        found: list[Message] = []
        for p in self.prompts:
            found.extend(p.messages)
        return tuple(found)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Sorted names over all prompts."""
        found: set[str] = set()
        for p in self.prompts:
            found.update(p.variables)
        return tuple(sorted(found))

    @cached_property
    def document(self) -> Document:
        """All messages laid end to end for marking and alignment; offsets map back to spans."""
        pieces = []
        for p in self.prompts:
            if not p.idle:
                for i, m in enumerate(p.messages):
                    pieces.append(
                        Piece(
                            prompt=p.name,
                            message=i,
                            role=m.role,
                            text=m.template,
                            frozen=((0, len(m.template)),) if not m.editable else (*m.frozen, *m.parsed.atom_ranges),
                            template_format=m.template_format,
                        )
                    )
        return Document(tuple(pieces))

    @property
    def tokens(self) -> int:
        """About how many tokens all prompts have that are sent."""
        return sum(p.tokens for p in self.awake)

    def longer_than(self, limit: int | None) -> tuple[Prompt, ...]:
        """The prompts with more tokens than `limit` among those whose text may change; none without a limit."""
        if limit is None:
            return ()
        found = []
        for p in self.awake:
            if p.tokens > limit and any(m.editable for m in p.messages):
                found.append(p)
        return tuple(found)

    def has(self, name: str, message: int) -> bool:
        """Whether there is a prompt of this name with this message."""
        return any(p.name == name and 0 <= message < len(p.messages) for p in self.prompts)

    def text_at(self, span: Span) -> str:
        """The template text under `span`."""
        return self[span.prompt].messages[span.message].template[span.start : span.end]

    def apply(self, edits: Iterable[Edit]) -> PromptSet:
        """The child these edits make. The only place where a child's text is built.

        Raises PromptError when an edit's `old` is not what stands there.
        """
        edits = list(edits)
        for edit in edits:
            if self.text_at(edit.span) != edit.old:
                msg = f"the text at {edit.span.start}-{edit.span.end} is not {edit.old!r}"
                raise PromptError(msg, where=f"prompt {edit.span.prompt!r}, message {edit.span.message}")
        by_message = replacements(edits)
        made: list[Prompt] = []
        for p in self.prompts:
            messages = list(p.messages)
            for i, m in enumerate(p.messages):
                if (p.name, i) in by_message:
                    messages[i] = m.spliced(by_message[p.name, i])
            made.append(replace(p, messages=tuple(messages)))
        return PromptSet(tuple(made))

    def as_json(self) -> list[dict[str, Any]]:
        """All prompts as events carry them."""
        return all_as_json(self.prompts)

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> PromptSet:
        """The inverse of `as_json`: prompts without what the record leaves out, which is frozen ranges and kinds."""
        return cls(tuple(map(Prompt.from_json, data)))


@dataclass(frozen=True)
class Candidate:
    """A full set of prompts and where it came from. Equal prompts are one candidate."""

    prompts: PromptSet
    step: int = 0
    origin: str = "seed"
    scope: ScopeName | None = None
    parents: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    enforced: bool = True
    """False where a local rewrite was taken as it came ("audit", "off"), not kept to the marked places."""
    salt: str = ""
    """What else makes two candidates different: the model, when two models are compared on one prompt."""

    @property
    def id(self) -> str:
        """Content hash of the prompts."""
        return content_hash([self.prompts.id, self.salt]) if self.salt else self.prompts.id
