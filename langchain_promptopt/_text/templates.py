"""Template sources: which stretches are code, which variables they name, how new text gets in.

Only literal text is ever edited. Code is an *atom*: a variable, a section or block mark, a comment, an escaped brace.
One scanner a format finds the atoms in one pass, with exact positions; it refuses what LangChain would refuse, and
what LangChain would silently turn into something else. A child has its parent's `signature` (the rule VARS).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_promptopt._text import Range, Rejection
from langchain_promptopt._text.tags import TAG
from langchain_promptopt.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from jinja2 import Environment, nodes

AtomKind: TypeAlias = Literal[
    "variable", "escape", "section", "inverted", "end", "comment", "expression", "block", "raw"
]


@dataclass(frozen=True, slots=True)
class Atom:
    """One stretch of template code. `names` are the variables it reads, as far as the format shows."""

    start: int
    end: int
    kind: AtomKind
    names: tuple[str, ...] = ()


def prompt_error(source: str, position: int, what: str, mend: str) -> PromptError:
    """A PromptError that names the character, counted from 0, and the line, counted from 1.

    Args:
        source: The template.
        position: Index of the character in `source`.
        what: The problem, as the beginning of a sentence that ends with the place.
        mend: What the user can do.
    """
    line = source.count("\n", 0, position) + 1
    return PromptError(f"{what} at character {position}", where=f"line {line}", mend=mend, position=position)


# f-string

_BRACE = re.compile(r"[{}]")
_SPACED_NAME = re.compile(r"[^\W\d]\w*(?:[ -]\w+)*")
"""Names that LangChain takes and people use: a column's name may have blanks and hyphens."""
_DOUBLE = "Double the braces ('{{' and '}}') if they are plain text."


def fstring_atoms(source: str) -> Iterator[Atom]:
    """Atoms of a template that `str.format` reads, held to what LangChain accepts."""
    at = 0
    while found := _BRACE.search(source, at):
        start, brace = found.start(), found.group()
        if source.startswith(brace * 2, start):
            at = start + 2
            yield Atom(start, at, "escape")
            continue
        if brace == "}":
            raise prompt_error(source, start, "single '}'", _DOUBLE)
        closing = _BRACE.search(source, start + 1)
        if closing is None:
            raise prompt_error(source, start, "'{' is not closed", f"Write '{{name}}'. {_DOUBLE}")
        if closing.group() == "{":
            raise prompt_error(source, closing.start(), "a brace inside braces", _DOUBLE)
        at = closing.end()
        name = _field_name(source, start, source[start + 1 : closing.start()])
        yield Atom(start, at, "variable", (name,))


def _field_name(source: str, start: int, field: str) -> str:
    """The variable of `{field}`. Raises PromptError where LangChain would break or invent one."""
    name, _, _ = field.partition(":")
    name, bang, conversion = name.partition("!")
    shown = f"'{{{field if len(field) <= 40 else field[:39] + '…'}}}'"
    if not name:
        raise prompt_error(source, start, "empty braces", f"Give the variable a name. {_DOUBLE}")
    if name.isdigit():
        raise prompt_error(source, start, f"{shown} is a position, not a name,", f"Name the variable. {_DOUBLE}")
    if not _SPACED_NAME.fullmatch(name):
        if re.fullmatch(r"\w+[.\[].*", name, re.DOTALL):
            raise prompt_error(
                source, start, f"{shown} reaches into a value", f"Pass that part as a variable of its own. {_DOUBLE}"
            )
        raise prompt_error(source, start, f"{shown} would become a variable", _DOUBLE)
    if bang and conversion not in {"r", "s", "a"}:
        raise prompt_error(source, start, f"{shown} has an unknown conversion", "Use !r, !s or !a.")
    return _checked(source, start, name)


def _checked(source: str, start: int, name: str) -> str:
    if name == "stop":
        raise prompt_error(
            source, start, "a variable called 'stop'", "Rename it: LangChain keeps that name for stop sequences."
        )
    return name


# mustache

_MUSTACHE_SIGNS: dict[str, AtomKind] = {"#": "section", "^": "inverted", "/": "end", "!": "comment", "&": "variable"}


def mustache_atoms(source: str) -> Iterator[Atom]:
    """Atoms of a mustache template: each tag by itself, so the text inside sections stays text."""
    at, opened = 0, list[tuple[str, int]]()
    while (start := source.find("{{", at)) >= 0:
        triple = source.startswith("{{{", start)
        close = "}}}" if triple else "}}"
        inner = start + len(close)
        stop = source.find("}}", inner)
        if stop < 0 or not source.startswith(close, stop):
            raise prompt_error(source, start, "tag is not closed", f"Close it with '{close}'.")
        at = stop + len(close)
        sign = "" if triple else source[inner : inner + 1]
        kind = _MUSTACHE_SIGNS.get(sign, "variable")
        _refuse_mustache(source, start, sign)
        key = source[inner + (sign in _MUSTACHE_SIGNS) : stop].strip()
        if not key and kind != "comment":
            raise prompt_error(source, start, "empty tag", "Name a variable or remove the tag.")
        _match_sections(source, start, kind, key, opened)
        name = key.partition(".")[0]
        names = (_checked(source, start, name),) if name and kind in {"variable", "section", "inverted"} else ()
        yield Atom(start, at, kind, names)
    if opened:
        key, start = opened[-1]
        raise prompt_error(source, start, f"section '{key}' is never closed: opened", f"Add '{{{{/{key}}}}}'.")


def _refuse_mustache(source: str, start: int, sign: str) -> None:
    if sign == ">":
        raise prompt_error(source, start, "a partial", "Write its text here: only one template is optimized at a time.")
    if sign == "=":
        raise prompt_error(source, start, "a change of delimiters", "Keep '{{' and '}}'.")


def _match_sections(source: str, start: int, kind: AtomKind, key: str, opened: list[tuple[str, int]]) -> None:
    if kind in {"section", "inverted"}:
        opened.append((key, start))
    elif kind == "end":
        last = opened.pop()[0] if opened else None
        if last != key:
            wanted = "no section is open" if last is None else f"the open section is '{last}'"
            raise prompt_error(source, start, f"'{key}' is closed, but {wanted}:", "Pair the section tags.")


# jinja2

_JINJA_BEGIN: dict[str, AtomKind] = {
    "variable_begin": "expression",
    "block_begin": "block",
    "comment_begin": "comment",
    "raw_begin": "raw",
}
_JINJA_END = frozenset({"variable_end", "block_end", "comment_end", "raw_end"})


@cache
def _jinja() -> Environment:
    """Only for reading; nothing is rendered with it."""
    from jinja2 import Environment

    return Environment(keep_trailing_newline=True, autoescape=True)


def jinja_atoms(source: str) -> Iterator[Atom]:
    """Atoms of a jinja2 template by jinja's own lexer; a raw block is one atom."""
    from jinja2 import TemplateSyntaxError

    lexer = _jinja().lexer
    flat, back = _unix_lines(source)
    at, begun, kind = 0, 0, None
    try:
        for _, token, value in lexer.tokeniter(flat, None):
            if token in _JINJA_BEGIN:
                # a '-' mark made the lexer swallow blanks before this token
                begun, kind = flat.index(value, at), _JINJA_BEGIN[token]
                at = begun
            at += len(value)
            if token in _JINJA_END and kind is not None:
                # '-%}' swallows the blanks after it; they are text and may change
                end = at - (len(value) - len(value.rstrip()))
                yield Atom(back(begun), back(end), kind)
                kind = None
    except TemplateSyntaxError as e:
        raise jinja_error(source, e.lineno, e.message) from e


def jinja_names(source: str) -> frozenset[str]:
    """Variables a caller must supply; loop variables and `set` names are none."""
    from jinja2 import TemplateSyntaxError, meta

    try:
        names = meta.find_undeclared_variables(_jinja().parse(source))
    except TemplateSyntaxError as e:
        raise jinja_error(source, e.lineno, e.message) from e
    except RecursionError as e:
        raise jinja_error(source, 1, "too deeply nested") from e
    return frozenset(_checked(source, max(0, source.find(name)), name) for name in names)


def jinja_error(source: str, line: int, message: str | None) -> PromptError:
    """The error at the start of `line`, as jinja2 knows no column.

    Args:
        source: The template.
        line: The line jinja2 names, counted from 1.
        message: What jinja2 says.
    """
    position = 0
    for _ in range(line - 1):
        position = source.find("\n", position) + 1
    what = f"jinja2 cannot read the template: {message or 'syntax error'},"
    return prompt_error(source, position, what, "Correct the block or expression on that line.")


def _unix_lines(source: str) -> tuple[str, Callable[[int], int]]:
    """The source with the line ends jinja2 sees, and the way back to offsets of `source`."""
    joints = [found.start() - shift for shift, found in enumerate(re.finditer("\r\n", source))]
    return source.replace("\r\n", "\n").replace("\r", "\n"), lambda at: at + bisect_left(joints, at)


# Placeholders in text that need not be a template

_FSTRING = re.compile(
    r"\{\{|\}\}|(\{[ \t]{0,4}[^\W\d]\w{0,100}(?:[ -]\w{1,40}){0,6}[ \t]{0,4}(?:![rsa])?(?::[^{}\n]{0,40})?\})"
)
_DOUBLE_BRACED = re.compile(r"(\{\{\{[^{}\n]{1,200}\}\}\}|\{\{[^{}\n]{1,200}\}\}|\{%[^%\n]{0,300}%\})")


def placeholders(text: str, template_format: TemplateFormat | None) -> tuple[str, ...]:
    """Raw placeholders in order; nothing for literal text or when no format is known.

    >>> placeholders('{{"a": 1}} {q} { q }', "f-string"), placeholders("{a} {{b}}", "mustache")
    (('{q}', '{ q }'), ('{{b}}',))
    """
    if template_format is None or template_format == "literal":
        return ()
    pattern = _FSTRING if template_format == "f-string" else _DOUBLE_BRACED
    return tuple(filter(None, pattern.findall(text)))


# Parsed templates

TemplateFormat: TypeAlias = Literal["f-string", "mustache", "jinja2", "literal"]
FORMATS: tuple[TemplateFormat, ...] = ("f-string", "mustache", "jinja2", "literal")


@dataclass(frozen=True)
class Template:
    """A parsed template source.

    `variables` are all input names, sorted; names of fields inside mustache sections count too.
    `notes` are things the user may want to know, none of them an error.
    """

    source: str
    format: TemplateFormat
    atoms: tuple[Atom, ...] = ()
    variables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def atom_ranges(self) -> tuple[Range, ...]:
        """Where the atoms stand, in order."""
        return tuple((a.start, a.end) for a in self.atoms)

    @cached_property
    def signature(self) -> tuple[str, ...]:
        """Raw atoms in order, what VARS keeps. Escaped braces are text written differently, so not in it."""
        return tuple(self.source[a.start : a.end] for a in self.atoms if a.kind != "escape")

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names the caller itself must pass: as `variables`, without names seen only inside mustache sections."""
        if self.format != "mustache":
            return self.variables
        depth, names = 0, set[str]()
        for atom in self.atoms:
            depth -= atom.kind == "end"
            if depth == 0:
                names.update(atom.names)
            depth += atom.kind in {"section", "inverted"}
        return tuple(sorted(names))

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """What is read of the variables: fields as dotted paths, as far as mustache and jinja2 sources show it."""
        if self.format == "jinja2":
            return tuple(sorted({path for path, _ in _jinja_paths(self.source)}))
        if self.format != "mustache":
            return self.variables
        return tuple(sorted({path for path, _ in self._mustache_paths()}))

    @cached_property
    def printed(self) -> tuple[str, ...]:
        """Nested paths that are printed under no condition: a row without the field would show nothing there."""
        found: Iterable[tuple[str, bool]] = ()
        if self.format == "jinja2":
            found = _jinja_paths(self.source)
        elif self.format == "mustache":
            found = self._mustache_paths()
        return tuple(sorted({path for path, shown in found if shown and "." in path}))

    def _mustache_paths(self) -> Iterator[tuple[str, bool]]:
        depth = 0
        for atom in self.atoms:
            depth -= atom.kind == "end"
            if atom.names and atom.kind == "variable" and depth == 0:
                yield self.source[atom.start : atom.end].strip("{}&\t\n "), True
            elif atom.names:  # what a section opens is looked up inside it, so all of it may be read
                yield atom.names[0], False
            depth += atom.kind in {"section", "inverted"}


@lru_cache(maxsize=1024)
def _jinja_paths(source: str) -> tuple[tuple[str, bool], ...]:
    """Each path that a jinja2 source reads of its variables, and whether it is printed under no condition."""
    from jinja2 import nodes

    free, tree = jinja_names(source), _jinja().parse(source)
    found: list[tuple[str, bool]] = []

    def visit(node: nodes.Node, *, sure: bool) -> None:
        called = node.node if isinstance(node, nodes.Call) else None
        if isinstance(called, nodes.Getattr):  # a method reads the value it belongs to, whatever that is
            for child in (called.node, *node.iter_child_nodes()):
                if child is not called:
                    visit(child, sure=False)
            return
        path = _jinja_path(node)
        if path is not None:
            if path.partition(".")[0] in free:
                found.append((path, sure))
            return
        plain = isinstance(node, nodes.Template | nodes.Output)
        for child in node.iter_child_nodes():
            visit(child, sure=sure and plain)

    visit(tree, sure=True)
    return tuple(found)


def _jinja_path(node: nodes.Node) -> str | None:
    """`mail.body` of `{{ mail.body }}` or `{{ mail["body"] }}`; None of other expressions."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.Getattr):
        above, step = _jinja_path(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        above, step = _jinja_path(node.node), str(node.arg.value)
    else:
        return None
    return None if above is None else f"{above}.{step}"


@lru_cache(maxsize=1024)
def parse_template(source: str, template_format: TemplateFormat) -> Template:
    """Text and atoms of a template source.

    Raises PromptError with the character position (facts: `position`) where LangChain would
    refuse the source, or take as a variable what is meant as text.

    >>> parse_template("Sum {text} as {{}}.", "f-string").variables
    ('text',)
    >>> parse_template("{{#items}}- {{name}}{{/items}}", "mustache").signature
    ('{{#items}}', '{{name}}', '{{/items}}')
    """
    if template_format not in FORMATS:
        msg = f"unknown template format {template_format!r}"
        raise PromptError(msg, mend=f"Use one of {', '.join(FORMATS)}.")
    scanners = {"f-string": fstring_atoms, "mustache": mustache_atoms, "jinja2": jinja_atoms}
    if template_format == "literal":
        return Template(source, "literal")
    atoms = tuple(scanners[template_format](source))
    names = jinja_names(source) if template_format == "jinja2" else chain.from_iterable(a.names for a in atoms)
    variables = tuple(sorted(set(names)))
    return Template(source, template_format, atoms, variables, _notes(source, template_format, atoms, variables))


_NAME = re.compile(r"[^\W\d]\w*")
_DOUBLED_NAME = re.compile(r"\{\{[ \t]{0,4}([^\W\d]\w*)[ \t]{0,4}\}\}")


def _notes(source: str, template_format: str, atoms: tuple[Atom, ...], variables: tuple[str, ...]) -> tuple[str, ...]:
    notes: list[str] = []
    if template_format == "f-string" and "{{" in source:
        notes += _doubled(source, variables)
    if template_format == "mustache" and any(_escapes_html(source, a) for a in atoms):
        notes.append("mustache '{{x}}' HTML-escapes values ('<' becomes '&lt;'); '{{{x}}}' and '{{&x}}' do not")
    return tuple(notes)


def _doubled(source: str, variables: tuple[str, ...]) -> Iterator[str]:
    """What doubled braces of an f-string may have been meant for."""
    for name in dict.fromkeys(_DOUBLED_NAME.findall(source)):
        if name in variables:
            yield f"'{{{{{name}}}}}' is sent as the text '{{{name}}}', beside the variable of that name"
    if variables:
        return
    for other in likely_formats(source):
        with suppress(PromptError):
            names = tuple(filter(_NAME.fullmatch, parse_template(source, other).variables))
            if names:
                listed = ", ".join(f"'{n}'" for n in names)
                these = f"variables {listed}" if len(names) > 1 else f"variable {listed}"
                yield f"no variable as f-string; as {other} this would have the {these}; check template_format"
                return


def likely_formats(source: str) -> tuple[TemplateFormat, ...]:
    """The formats with doubled braces, that which the text looks like first."""
    return ("jinja2", "mustache") if re.search(r"\{%|\{#|\{\{[^{}]*\|", source) else ("mustache", "jinja2")


def _escapes_html(source: str, atom: Atom) -> bool:
    return atom.kind == "variable" and not source.startswith(("{{{", "{{&"), atom.start)


# Text written by a model

_CODE_MARKS: dict[TemplateFormat, tuple[str, ...]] = {"mustache": ("{{",), "jinja2": ("{{", "{%", "{#")}


def escape(text: str, template_format: TemplateFormat) -> str | Rejection:
    """Template source that renders as exactly `text`, or a Rejection where the format cannot say it.

    >>> escape('{"a": 1}', "f-string")
    '{{"a": 1}}'
    """
    if template_format == "f-string":
        return text.replace("{", "{{").replace("}", "}}")
    for mark in _CODE_MARKS.get(template_format, ()):
        if mark in text:
            return Rejection("template_code", f"'{mark}' cannot be plain text in a {template_format} template")
    return text


_FIELD = re.compile(r"\{([^{}]{0,200})\}")
_FIELD_NAME = re.compile(r"\s*([^\W\d]\w*)([.\[][^{}]*)?\s*(![a-z])?(:\S*)?\s*")
_ANY_CODE = re.compile(r"\{\{\{?[^{}]{0,400}\}\}|\{%|\{#")


def check_new_text(text: str, template: Template) -> str | Rejection:
    """Decide on text a model wrote to replace literal text of `template`; return it as template source.

    Literal braces are escaped. What looks like a variable of the format is refused, known names
    included: a second occurrence changes the signature too (VARS). Doubled braces copied from the
    source are taken as they are.

    >>> t = parse_template("Answer {q}", "f-string")
    >>> check_new_text('Say {"a": 1}', t), check_new_text('Say {{"a": 1}}', t)
    ('Say {{"a": 1}}', 'Say {{"a": 1}}')
    >>> check_new_text("Use {context}", t)
    Rejection(rule='new_variable', detail="'{context}' would be a new variable")
    """
    if template.format == "f-string":
        return _check_fstring(text, template)
    if template.format != "literal" and (found := _ANY_CODE.search(text)):
        return Rejection("new_variable", f"{found.group()!r} would be template code")
    if template.format in _CODE_MARKS and text.endswith("{"):
        return Rejection("template_code", "a brace at the end may spell a tag with what follows")
    return escape(text, template.format)


def _check_fstring(text: str, template: Template) -> str | Rejection:
    doubled = _is_escaped(text)
    for found in _FIELD.finditer(text):
        if doubled:  # literal braces around a variable's own name: the parent's, or a slip
            meant = found.group(1).strip() in template.variables and f"{{{found.group()}}}" not in template.source
        else:
            meant = _looks_like_field(found.group(1), template.variables)
        if meant:
            return Rejection("new_variable", f"{found.group()!r} would be a new variable")
    return text if doubled else escape(text, "f-string")


def _is_escaped(text: str) -> bool:
    """True when every brace is doubled, so that the text is template source already."""
    for brace in "{}":
        if text.replace(brace * 2, "").count(brace):
            return False
    return "{{" in text or "}}" in text


def _looks_like_field(field: str, known: tuple[str, ...]) -> bool:
    """`name`, `name!r`, `name:>10`, `name.x`; not `"a": 1` nor `a: 1`, unless `a` is a variable."""
    if _FIELD_NAME.fullmatch(field):
        return True
    return field.partition(":")[0].strip() in known


def same_code(parent: Template, child_source: str) -> Rejection | None:
    """None when `child_source` parses and has the parent's signature (VARS); else what differs.

    Run on every child: two harmless texts side by side may spell a tag together.
    """
    try:
        child = parse_template(child_source, parent.format)
    except PromptError as e:
        return Rejection("template_syntax", str(e))
    if child.signature == parent.signature:
        return None
    before, after = list(parent.signature), list(child.signature)
    lost = [a for a in before if before.count(a) > after.count(a)]
    new = [a for a in after if after.count(a) > before.count(a)]
    if new:
        return Rejection("new_variable", f"{new[0]!r} is not in the parent")
    return Rejection("lost_variable", f"{lost[0]!r} is missing") if lost else Rejection("order", "variables moved")


# Edit marks in a user's prompt

_KEEP = 'To keep it as plain text, freeze it: freeze = ["re:</?edit>"].'


def find_edit_marks(text: str, frozen: tuple[Range, ...] = ()) -> PromptError | None:
    """The error to raise for `<edit>` marks that do not pair up; balanced ones are plain text (10.12).

    Marks inside frozen text are not looked at.
    """
    opened: int | None = None
    for found in TAG.finditer(text):
        at = found.start()
        if any(a <= at and found.end() <= b for a, b in frozen):
            continue
        if found.group(1):
            if opened is None:
                return PromptError(f"closing tag without opening tag at character {at}", mend=_KEEP, position=at)
            opened = None
        elif opened is not None:
            return PromptError(
                f"nested tag at character {at}", mend=f"Close the tag of character {opened} first. {_KEEP}", position=at
            )
        else:
            opened = at
    if opened is None:
        return None
    return PromptError(
        f"tag opened at character {opened} is not closed", mend=f"Add '</edit>'. {_KEEP}", position=opened
    )


def check_user_marks(text: str, frozen: tuple[Range, ...] = ()) -> None:
    """Raise PromptError where `find_edit_marks` finds one."""
    error = find_edit_marks(text, frozen)
    if error is not None:
        raise error


def other_mark(text: str, names: Sequence[str]) -> tuple[str, str] | None:
    """The first of these names that the text marks as another language's variable, with its mark; None for none.

    >>> other_mark("Sort this: $ticket", ["ticket"])
    ('$ticket', 'ticket')
    """
    for name in names:
        found = re.search(rf"(?:[$#@]\{{?|%\(|<<?|\[\[?){re.escape(name)}(?:\}}|\)s|>>?|\]\]?|\b)", text)
        if found is not None:
            return found[0], name
    return None
