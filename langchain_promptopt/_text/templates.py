"""Template sources: which stretches are code, which variables they name, how new text gets in.

Only literal text is ever edited. Code is an *atom*: a variable, a section or block mark, a
comment, an escaped brace. VARS says that a child has its parent's `signature`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, TypeAlias

from langchain_promptopt._text.atoms import Atom, fstring_atoms, jinja_atoms, jinja_names, mustache_atoms
from langchain_promptopt._text.rejection import Range, Rejection
from langchain_promptopt._text.tags import TAG
from langchain_promptopt.errors import PromptError

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
    names = {n for a in atoms for n in a.names} if template_format != "jinja2" else jinja_names(source)
    variables = tuple(sorted(names))
    return Template(source, template_format, atoms, variables, _notes(source, template_format, atoms, variables))


_DOUBLED_NAME = re.compile(r"\{\{[ \t]{0,4}([^\W\d]\w*)[ \t]{0,4}\}\}")


def _notes(source: str, template_format: str, atoms: tuple[Atom, ...], variables: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if template_format == "f-string" and not variables:
        names = list(dict.fromkeys(_DOUBLED_NAME.findall(source)))
        if names:
            listed = ", ".join(f"'{n}'" for n in names)
            plural = "variables" if len(names) > 1 else "variable"
            notes.append(
                f"no variable as f-string; as mustache this would have the {plural} {listed}; check template_format"
            )
    if template_format == "mustache" and any(a.kind == "variable" and _escapes_html(source, a) for a in atoms):
        notes.append("mustache '{{x}}' HTML-escapes values ('<' becomes '&lt;'); '{{{x}}}' and '{{&x}}' do not")
    return tuple(notes)


def _escapes_html(source: str, atom: Atom) -> bool:
    return not source.startswith(("{{{", "{{&"), atom.start)


# ------------------------------------------------------------------ text written by a model

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
            return Rejection("template_code", f"'{mark}' cannot stand as plain text in a {template_format} template")
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


# ------------------------------------------------------------------ edit marks in a user's prompt

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
