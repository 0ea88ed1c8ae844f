"""Random prompts, spans and replies for the LOCAL and VARS campaigns, deterministic in the seed; and the oracles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from string import Formatter

from langchain_core.utils import mustache

from langchain_promptopt._text import Rejection
from langchain_promptopt._text.recover import recover
from langchain_promptopt._text.spans import SpanLimits, legalise
from langchain_promptopt._text.tags import insert_tags, pick_tag
from langchain_promptopt._text.templates import Template, TemplateFormat, check_new_text, parse_template, same_code
from langchain_promptopt.types import Edit, Message, Prompt, PromptSet, Span

WORDS = [
    "Be", "brief", "kind", "answer", "the", "question", "with", "one", "word", "only", "never", "guess", "a",
    "label", "e-mail", "don't", "3.5", "step-by-step", "naïve", "e\u0301tude", "Größe", "请", "简短", "回答",
    "問題に", "答えて", "👍🏽", "👩‍👩‍👧", "سؤال", "प्रश्न", "ไทย", "한국어", ".", ",", ":", ";", "!", "(", ")", "-", "*",
    "#", "```", "&", "&amp;", "<", ">", '"', "'",
]  # fmt: skip
BLANKS = (" ", " ", " ", " ", "  ", "\n", "\n\n", "\r\n", "\t", " \n", "\u00a0", "\u3000")
CODE: dict[TemplateFormat, tuple[str, ...]] = {
    "f-string": ("{question}", "{q!r}", "{x:>10}", '{{"a": 1}}', "{{", "}}", "{label}"),
    "mustache": ("{{question}}", "{{{raw}}}", "{{& y }}", "{{#s}}in{{/s}}", "{{^s}}no{{/s}}", "{{! c }}", '{"a": 1}'),
    "jinja2": (
        "{{ question }}",
        "{% if x %}y{% endif %}",
        "{# c #}",
        "{{ l | upper }}",
        "{% raw %}{{ r }}{% endraw %}",
    ),
    "literal": ("{question}", "{{x}}", "{%"),
}
NEW = (
    "",
    "kind",
    "be very clear here",
    "请用中文",
    'say {"a": {"b": 1}} now',
    "a } b {",
    "{{doubled}}",
    "x\r\ny",
    "👍🏽 ok",
)
HOSTILE = (
    "{question}",
    "{new_one}",
    "{{ new_one }}",
    "{% for a in b %}",
    "{#",
    "<edit>",
    "</edit>",
    "system:",
    "{",
    "}",
    "}}",
)


@dataclass(frozen=True)
class Case:
    template: Template
    frozen: tuple[tuple[int, int], ...]
    spans: tuple[tuple[int, int], ...]
    tag: str

    @property
    def text(self) -> str:
        return self.template.source

    @property
    def fixed(self) -> list[str]:
        cuts = [0, *(at for span in self.spans for at in span), len(self.text)]
        return [self.text[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True)]


def make_text(rng: Random, template_format: TemplateFormat) -> str:
    parts = []
    for _ in range(rng.randrange(1, 30)):
        roll = rng.random()
        if roll < 0.12:
            parts.append(rng.choice(CODE[template_format]))
        elif roll < 0.15:
            parts.append(rng.choice(("<edit>", "</edit>", "&lt;edit&gt;")))
        else:
            parts.append(rng.choice(WORDS))
        parts.append(rng.choice(BLANKS) if rng.random() < 0.9 else "")
    text = "".join(parts)
    if template_format in {"mustache", "jinja2"}:
        text = text.replace("{ {", "(")
    return text


def make_limits(rng: Random) -> SpanLimits:
    return SpanLimits(
        w_max=rng.choice((None, 1, 3, 5, 10)),
        k_max=rng.choice((1, 3, 5, 9)),
        f_max=rng.choice((0.1, 0.5, 1.0)),
        insertions=rng.random() < 0.8,
        whole_lines=rng.random() < 0.5,
    )


def make_ranges(rng: Random, length: int) -> list[tuple[int, int]]:
    out = []
    for _ in range(rng.randrange(0, 7)):
        start = rng.randrange(0, length + 1)
        out.append((start, min(length, start + rng.choice((0, 0, 3, 8, 20, 60)))))
    return out


def make_case(seed: int) -> Case:
    rng = Random(seed)
    formats: tuple[TemplateFormat, ...] = ("f-string", "f-string", "mustache", "jinja2", "literal")
    template_format = rng.choice(formats)
    text = make_text(rng, template_format)
    template = parse_template(text, template_format)
    frozen = [*template.atom_ranges]
    if rng.random() < 0.3 and text:
        start = rng.randrange(len(text))
        frozen.append((start, min(len(text), start + rng.randrange(1, 12))))
    frozen.sort()
    spans = legalise(make_ranges(rng, len(text)), text, frozen, make_limits(rng))
    return Case(template, tuple(frozen), spans, pick_tag(text))


def make_reply(rng: Random, case: Case) -> str:
    """An honest reply, damaged up to four times."""
    news = [rng.choice(HOSTILE if rng.random() < 0.15 else NEW) for _ in case.spans]
    edits = [(a, b, new) for (a, b), new in zip(case.spans, news, strict=True)]
    reply = made(case.text, edits)
    if rng.random() < 0.4:
        shown, shift = [], 0
        for a, b, new in edits:
            shown.append((a + shift, a + shift + len(new)))
            shift += len(new) - (b - a)
        reply = insert_tags(reply, shown, case.tag)
    for _ in range(rng.randrange(0, 5)):
        reply = _damaged(rng, reply, case.tag)
    return reply


def _damaged(rng: Random, reply: str, tag: str) -> str:
    words = reply.split(" ")
    at = rng.randrange(len(reply) + 1)
    roll = rng.randrange(16)
    if roll == 0:
        return " ".join(w for w in words if rng.random() > 0.2)
    if roll == 1:
        return " ".join(rng.choice(WORDS) if rng.random() < 0.2 else w for w in words)
    if roll == 2:
        return " ".join(reply.split())
    if roll == 3:
        return reply.replace("\n", "\r\n")
    if roll == 4:
        return reply[:at]
    if roll == 5:
        return reply[:at] + rng.choice(HOSTILE) + reply[at:]
    if roll == 6:
        return reply[:at] + rng.choice((f"<{tag}>", f"</{tag}>", f"< {tag.upper()} >", f"&lt;/{tag}&gt;")) + reply[at:]
    if roll == 7:
        return f"```\n{reply}\n```"
    if roll == 8:
        return f"Sure! Here is the improved prompt:\n\n{reply}\n\nLet me know."
    if roll == 9:
        return json.dumps({"prompt": reply, "comment": "better"})
    if roll == 10:
        return reply.replace("<", "&lt;").replace(">", "&gt;")
    if roll == 11:
        rng.shuffle(words)
        return " ".join(words)
    if roll == 12:
        return reply + " " + reply
    if roll == 13:
        return reply.upper()
    if roll == 14:
        return f"<think>{reply[:at]}</think>\n{reply}"
    return "".join(c for c in reply if rng.random() > 0.03)


# ------------------------------------------------------------------ oracles that share no code with the package


def keeps_fixed_text(case: Case, child: str) -> bool:
    """LOCAL: child is f_0 r_1 f_1 ... r_n f_n, byte for byte."""
    fixed = case.fixed
    if not child.startswith(fixed[0]) or not child.endswith(fixed[-1]):
        return False
    at, stop = len(fixed[0]), len(child) - len(fixed[-1])
    for part in fixed[1:-1]:
        found = child.find(part, at, stop)
        if found < 0:
            return False
        at = found + len(part)
    return at <= stop


def variables_in_order(source: str, template_format: str) -> list[object]:
    """VARS, by the parsers the templates are rendered with."""
    if template_format == "f-string":
        return [f[1:] for f in Formatter().parse(source) if f[1] is not None]
    if template_format == "mustache":
        return [t for t in mustache.tokenize(source) if t[0] != "literal"]
    if template_format == "jinja2":
        from jinja2 import Environment

        kept = Environment(autoescape=True).lexer.tokeniter(source, None)
        return [(t, v.strip()) for _, t, v in kept if t not in {"data", "whitespace"}]
    return []


def made(text: str, edits: list[tuple[int, int, str]]) -> str:
    """`text` changed the way the product changes it: as a message of a prompt that the edits are applied to."""
    parent = PromptSet((Prompt("p", (Message("human", text, "literal"),)),))
    child = parent.apply(Edit(Span("p", 0, a, b), text[a:b], new) for a, b, new in edits)
    return child["p"].messages[0].template


def child_of(case: Case, reply: str) -> str | Rejection:
    """What the product makes of a reply: recovered, checked, spliced."""
    found = recover(reply, case.text, case.spans, case.frozen, case.tag, case.template.format)
    if isinstance(found, Rejection):
        return found
    edits = []
    for (start, end), new in zip(case.spans, found.replacements, strict=True):
        old = case.text[start:end]
        source = old if new == old else check_new_text(new, case.template)
        if isinstance(source, Rejection):
            return source
        edits.append((start, end, source))
    child = made(case.text, edits)
    return same_code(case.template, child) or child


def assert_local_and_vars(case: Case, child: str) -> None:
    assert keeps_fixed_text(case, child), (case, child)
    before = variables_in_order(case.text, case.template.format)
    assert variables_in_order(child, case.template.format) == before, (case, child)
    for start, end in case.frozen:
        assert case.text[start:end] in child
