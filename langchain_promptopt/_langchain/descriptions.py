"""Descriptions of tools, of their arguments, and of the fields of structured output: prompts where a run asks for them.

They are sent to a model beside its messages. They are found in bound models, tools and schemas, replaced in what is
sent for one evaluation, and written back to every object that holds them: tools, pydantic fields, docstrings of
classes, dictionaries.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import ChatMessage
from langchain_core.output_parsers.openai_tools import JsonOutputToolsParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel

from langchain_promptopt._code import read_code
from langchain_promptopt._collections import without
from langchain_promptopt._imports import package_of
from langchain_promptopt._langchain.holders import Holder, line_of, own_modules, shown_path
from langchain_promptopt._langchain.overlay import current, installed
from langchain_promptopt._langchain.schemas import (
    Form,
    entries_of,
    form_of,
    json_form,
    models_in,
    structured_schema,
    with_entries,
    with_texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from langchain_promptopt._langchain.schemas import SchemaKind

_DOCSTRING = "docstring"
_SURE = 20
"""Characters by which a text is recognised in the source of what holds it."""
_MANY = 200
"""Members of one list or dictionary of a module that are looked at."""
_NESTED = 4
"""How deep lists and dictionaries of a module are looked into for schemas."""
_NAMED_IN_CODE: dict[str, SchemaKind] = {
    "with_structured_output": "schema",
    "response_format": "schema",
    "text_format": "schema",
    "bind_tools": "tool",
}
"""Names in a function that say what the classes and dictionaries beside them are for."""


@dataclass(eq=False)
class Description:
    """A text of a tool or a schema: a live prompt like a template.

    Args:
        kind: Whether it is of a tool that the model may call, or of the form of its answer.
        owner: What the tool or the schema is called.
        paths: Where in it the text stands; several where one class is used for several fields.
        holders: Every place that holds it.
    """

    kind: SchemaKind
    owner: str
    paths: tuple[str, ...]
    holders: tuple[Holder, ...]
    name: str = ""
    proven: bool = False
    """Whether a dry run has seen it in what is sent to a model."""
    homes: list[Any] = field(default_factory=list)
    """Functions and classes whose source holds the text."""

    @property
    def text(self) -> str:
        """The text as it is sent now."""
        return _read(self.holders[0])

    @property
    def where(self) -> str:
        """A place that holds it, for messages to people: one with a name of its own, where there is one."""
        for holder in self.holders:
            if not holder.where.startswith("$"):
                return holder.where
        return self.holders[0].where

    @property
    def place(self) -> str:
        """File and line of the text, or of what holds it, where they are known; else `where`."""
        start = " ".join(self.text.split())[:_SURE]
        for home in self.homes:
            try:
                file, (lines, first) = inspect.getsourcefile(home), inspect.getsourcelines(home)
            except (OSError, TypeError):
                continue
            return f"{shown_path(file or '')}:{first + _index_of(start, lines)}"
        for holder in self.holders:
            if (line := line_of(holder.file, self.text)) is not None:
                return f"{shown_path(holder.file)}:{line}"
        return self.where

    @property
    def template(self) -> ChatPromptTemplate:
        """The text as a template: one message without variables, whose braces are braces."""
        return ChatPromptTemplate([ChatMessage(role="description", content=self.text)])

    def fits(self, owner: str, path: str, text: str) -> bool:
        """Whether a text that is sent is this one, but for white space.

        Args:
            owner: The name of its tool or schema.
            path: Where in it the text stands.
            text: The text.
        """
        return owner == self.owner and path in self.paths and text.split() == self.text.split()

    def write(self, template: ChatPromptTemplate) -> Callable[[], None]:
        """Put a text into every holder; the result puts the old objects back.

        Args:
            template: The text, in the form of `template`.
        """
        before = [(holder, holder.read()) for holder in self.holders]
        for holder in self.holders:
            holder.write(text_in(template))

        def restore() -> None:
            for holder, value in before:
                holder.write(value)  # type: ignore[arg-type]  # what was read is put back as it was

        return restore


def text_in(template: Any) -> str:
    """The text of a description's template."""
    return str(template.messages[0].content)


def _index_of(words: str, lines: Sequence[str]) -> int:
    """The first line that holds these words; 0 where none does."""
    for i, line in enumerate(lines):
        if words in " ".join(line.split()):
            return i
    return 0


def _read(holder: Holder) -> str:
    text = str(holder.read())
    return inspect.cleandoc(text) if holder.within == _DOCSTRING else text


# In what is sent.


def overlaid_call(call: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a model's call with the descriptions of the candidate under evaluation.

    Args:
        call: The keyword arguments, which stay as they are.
    """
    known = installed(Description)
    return with_entries(call, lambda entry: _overlaid(entry, known)) if known else call


def _overlaid(entry: Any, known: Sequence[Description]) -> Any:
    form = json_form(entry)
    if form is None:
        return entry
    texts: dict[str, str] = {}
    for path, text in form.texts.items():
        live = next((one for one in known if one.fits(form.name, path, text)), None)
        other = None if live is None else current(live, {})
        if other is not None and text_in(other) != text:
            texts[path] = text_in(other)
    return with_texts(entry, texts) if texts else entry


# Where they are found.


@dataclass
class _Source:
    """An object of the program that holds texts of one tool or schema."""

    kind: SchemaKind | None
    """None where it holds the texts of one that is known from elsewhere, if of any."""
    name: str
    texts: dict[str, str]
    holders: list[tuple[str, Holder]]
    """Path and holder; a path may have several."""
    home: Any = None


def find_descriptions(things: Iterable[tuple[str, Any]], sent: Sequence[Mapping[str, Any]] = ()) -> list[Description]:
    """The descriptions that a program's objects hold, in the order in which they are met.

    Args:
        things: (path, object) of every object that a walk over the program visits.
        sent: The arguments of model calls that a dry run would have made; what stands in them is proven.
    """
    visited, bound = list(things), set[int]()
    answers = _answers(visited)
    sources = []
    for source in _sources(visited, bound):
        sources.append(replace(source, kind="schema") if source.name in answers else source)
    taken = {source.name for source in sources}
    seen: list[Form] = []
    for call in sent:
        for kind, entry in entries_of(call):
            form = json_form(entry)
            if form is not None:
                seen.append(form)
                if form.name not in taken:
                    sources.append(_Source(kind, form.name, form.texts, []))
    if not sources:
        return []
    names = {source.name for source in sources}
    for path, thing in visited:
        if id(thing) not in bound and _is_named(thing, names):
            sources.extend(replace(source, kind=None) for source in _of_any(None, thing, path))
    found = [one for one in _merged(sources, [*_in_modules(names)]) if one.holders]
    for one in found:
        one.proven = any(_has(form, one) for form in seen)
    _name(found)
    return found


def _has(form: Form, one: Description) -> bool:
    """Whether a form that is sent has this text."""
    return any(one.fits(form.name, path, text) for path, text in form.texts.items())


def _merged(sources: Sequence[_Source], beside: Sequence[_Source]) -> list[Description]:
    """One description for each text of each tool or schema, with all its holders.

    Args:
        sources: What the program reaches.
        beside: What its modules hold under the same names: what a schema was made of, if there is but one such thing.
    """
    found: dict[tuple[str, str, str], Description] = {}
    for source in sources:
        for path, text in source.texts.items():
            if source.kind is not None:
                key = _key(source.name, path, text)
                found.setdefault(key, Description(source.kind, source.name, (path,), ()))
    for source in sources:
        _take(found, source)
    made_of = {one.owner for one in found.values() if one.homes}  # a class or a function; dictionaries are made of it
    for source in beside:
        others = {id(other.home) for other in beside if other.name == source.name and other.home is not None}
        if source.name not in made_of and len(others) == (source.home is not None):
            _take(found, source, same_object=source.home is None)
    return _joined(list(found.values()))


def _take(found: Mapping[tuple[str, str, str], Description], source: _Source, *, same_object: bool = False) -> None:
    """Add the holders of a source to the descriptions that they hold.

    Args:
        found: The descriptions.
        source: An object of the program.
        same_object: Take a holder only if its text is the very string of a known one.
    """
    homes = []
    for path, holder in source.holders:
        one = found.get(_key(source.name, path, _read(holder)))
        if one is None or any(known.thing == holder.thing for known in one.holders):
            continue
        if same_object and one.holders and not any(known.read() is holder.read() for known in one.holders):
            continue
        one.holders = (*one.holders, holder)
        homes.append(one)
    for one in homes:
        if source.home is not None and source.home not in one.homes:
            one.homes.append(source.home)


def _joined(found: Sequence[Description]) -> list[Description]:
    """Texts that the same object holds are one: a class may be used for several fields."""
    joined: list[Description] = []
    for one in found:
        same = _held_with(one, joined)
        if same is None:
            joined.append(one)
            continue
        known = {holder.thing for holder in same.holders}
        same.paths = (*same.paths, *one.paths)
        same.holders = (*same.holders, *(holder for holder in one.holders if holder.thing not in known))
    return joined


def _held_with(one: Description, others: Iterable[Description]) -> Description | None:
    """The first of the others of which a text is held by the same object."""
    things = {holder.thing for holder in one.holders}
    for other in others:
        if any(holder.thing in things for holder in other.holders):
            return other
    return None


def _key(name: str, path: str, text: str) -> tuple[str, str, str]:
    return name, path, " ".join(text.split())


def _name(found: Sequence[Description]) -> None:
    taken: set[str] = set()
    for one in found:
        wanted = f"{one.kind}:{one.owner}" + (f".{one.paths[0]}" if one.paths[0] else "")
        name, n = wanted, 1
        while name in taken:
            n += 1
            name = f"{wanted}-{n}"
        taken.add(name)
        one.name = name


def _answers(visited: Sequence[tuple[str, Any]]) -> set[str]:
    """Names of the tools whose call is the answer itself, as `with_structured_output` reads them."""
    found: set[str] = set()
    for _, thing in visited:
        if isinstance(thing, JsonOutputToolsParser) and thing.first_tool_only:
            kinds = getattr(thing, "tools", ())
            found.update(kind.__name__ for kind in kinds if isinstance(kind, type))
            found.add(str(getattr(thing, "key_name", "")))
    return found


def _sources(visited: Sequence[tuple[str, Any]], taken: set[int]) -> Iterator[_Source]:
    """What a program binds to its models, and tools that it holds.

    Args:
        visited: Path and object.
        taken: Objects that are parts of others, by id; those that are found are added.
    """
    for path, thing in visited:
        if id(thing) in taken:
            continue
        if isinstance(thing, RunnableBindingBase):
            yield from _of_binding(path, thing.kwargs, taken)
        elif isinstance(thing, BaseTool):
            yield from _of_tool(path, thing)
        elif type(thing).__name__ == "_SchemaSpec":  # how create_agent keeps `response_format`
            entry = {"name": getattr(thing, "name", ""), "schema": getattr(thing, "json_schema", None)}
            yield from _of_json("schema", entry, f"{path}.json_schema")
        elif isinstance(thing, dict) and _is_tool(thing):
            taken.update((id(thing), *map(id, thing.values())))
            yield from _of_json("tool", thing, path)
        elif isinstance(thing, types.FunctionType) and package_of(thing.__module__ or "") is None:
            yield from _of_code(path, thing)


def _of_binding(path: str, kwargs: Mapping[str, Any], taken: set[int]) -> Iterator[_Source]:
    noted = structured_schema(kwargs)
    taken.update(id(value) for value in kwargs.values() if isinstance(value, Mapping))
    entries = [*entries_of(kwargs), *([("schema", noted)] if noted is not None else ())]
    for number, (kind, entry) in enumerate(entries):
        taken.update((id(entry), *(map(id, entry.values()) if isinstance(entry, Mapping) else ())))
        if entry is noted and not any(known == "schema" for known, _ in entries[:number]):
            continue  # it is not sent, as in JSON mode
        yield from _of_any(kind, entry, f"{path}.kwargs[{number}]")


def _of_any(kind: SchemaKind | None, entry: Any, path: str) -> Iterator[_Source]:
    """The texts of a tool or schema in any of its forms; a function or a TypedDict holds none that can be set."""
    if isinstance(entry, BaseTool):
        yield from _of_tool(path, entry)
    elif isinstance(entry, dict):
        yield from _of_json(kind, entry, path)
    elif (form := json_form(entry)) is not None:
        holders = [*_of_class(entry)] if isinstance(entry, type) and issubclass(entry, BaseModel) else []
        yield _Source(kind, form.name, form.texts, holders, entry)


def _is_tool(thing: dict[Any, Any]) -> bool:
    """Whether a dictionary is a tool by its form alone."""
    own = thing.get("type") == "function" and ("function" in thing or "parameters" in thing)
    return (own or {"name", "input_schema"} <= thing.keys()) and form_of(thing) is not None


def _of_json(kind: SchemaKind | None, entry: dict[str, Any], path: str, file: str = "") -> Iterator[_Source]:
    form = form_of(entry)
    if form is None:
        return
    holders = []
    for number, (at, node) in enumerate(form.parts):
        holders.append((at, _of_node(f"{path} {form.name}.{at}[{number}]", node, file)))
    yield _Source(kind, form.name, form.texts, holders)


def _of_node(where: str, node: dict[str, Any], file: str) -> Holder:
    def write(text: str) -> None:
        node["description"] = text

    return Holder(where, "description", lambda: node["description"], write, file=file, thing=id(node))


def _of_tool(path: str, tool: BaseTool) -> Iterator[_Source]:
    """A tool's description and those of its arguments; one that can do nothing is the form of an answer."""
    form = json_form(tool)
    if form is None:
        return
    silent = isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is None

    def write(text: str) -> None:
        tool.description = text

    def forget() -> None:
        tool.args_schema = tool.args_schema  # LangChain keeps the JSON that it made until this is set

    holders = [("", Holder(f"{path}.description", "description", lambda: tool.description, write, thing=id(tool)))]
    arguments: Any = tool.args_schema
    if isinstance(arguments, dict):
        inner = {"name": tool.name, "parameters": without(arguments, {"description"})}
        for source in _of_json("tool", inner, f"{path}.args_schema"):
            holders += source.holders
    elif isinstance(arguments, type) and issubclass(arguments, BaseModel):
        for at, holder in _of_fields(arguments, "", (arguments,)):
            made = package_of(arguments.__module__) is not None  # LangChain makes a class of a function's arguments
            holders.append((at, _then(holder, forget, f"{path}.args.{at}" if made else holder.where)))
    home = getattr(tool, "func", None) or getattr(tool, "coroutine", None) or type(tool)
    home = home if package_of(getattr(home, "__module__", None) or "") is None else None
    held = {at for at, _ in holders}
    texts = {at: text for at, text in form.texts.items() if at in held}
    yield _Source("schema" if silent else "tool", tool.name, texts, holders, home)


def _then(holder: Holder, after: Callable[[], None], where: str) -> Holder:
    """The holder under another name, with what must be done once it is set.

    Args:
        holder: The holder.
        after: Called after each writing.
        where: Its name for people.
    """

    def write(text: str) -> None:
        holder.write(text)
        after()

    return replace(holder, write=write, where=where)


def _of_class(kind: type[BaseModel]) -> Iterator[tuple[str, Holder]]:
    """The docstring of a pydantic class, and the descriptions of its fields and of those of the classes they name."""
    if kind.__doc__ and "__doc__" in vars(kind):

        def write(text: str) -> None:
            kind.__doc__ = text
            kind.model_rebuild(force=True)

        where = f"{kind.__module__}.{kind.__qualname__}"
        yield "", Holder(where, kind.__name__, lambda: kind.__doc__, write, within=_DOCSTRING, thing=id(kind))
    yield from _of_fields(kind, "", (kind,))


def _of_fields(kind: type[BaseModel], path: str, roots: tuple[type[BaseModel], ...]) -> Iterator[tuple[str, Holder]]:
    """Path and holder of each described field.

    Args:
        kind: A pydantic class.
        path: Where it stands in the schema.
        roots: The classes that led here, `kind` being the last of them: what is made of them is made anew.
    """
    for name, info in getattr(kind, "__pydantic_fields__", {}).items():
        alias = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
        at = f"{path}.{alias or name}" if path else str(alias or name)
        if info.description:
            yield at, _of_field(f"{kind.__module__}.{kind.__qualname__}.{name}", info, roots)
        for inner in models_in(info.annotation):
            if inner not in roots:
                yield from _of_fields(inner, at, (*roots, inner))


def _of_field(where: str, info: Any, roots: Sequence[type[BaseModel]]) -> Holder:
    def write(text: str) -> None:
        info.description = text
        stored = getattr(info, "_attributes_set", {})
        if "description" in stored:
            stored["description"] = text
        for kind in reversed(roots):
            kind.model_rebuild(force=True)

    return Holder(where, "description", lambda: info.description, write, thing=id(info))


def _of_code(path: str, function: types.FunctionType) -> Iterator[_Source]:
    """Classes and dictionaries named in a function that gives them to a model while it runs."""
    code = function.__code__
    words = {*read_code(code).names, *_keywords(code)}
    kinds = [kind for word, kind in _NAMED_IN_CODE.items() if word in words]
    if not kinds:
        return
    inner = dict(zip(code.co_freevars, function.__closure__ or (), strict=False))
    for name in words:
        value = function.__globals__.get(name)
        if isinstance(value, dict) or (isinstance(value, type) and issubclass(value, BaseModel)):
            yield from _of_any(kinds[0], value, f"{path}<{name}>")
    for name, cell in inner.items():
        value = getattr(cell, "cell_contents", None)
        if isinstance(value, type) and issubclass(value, BaseModel):
            yield from _of_any(kinds[0], value, f"{path}<{name}>")


def _keywords(code: types.CodeType) -> Iterator[str]:
    """The names of arguments that code and the code inside it give by name."""
    for constant in code.co_consts:
        if isinstance(constant, tuple):
            yield from (name for name in constant if isinstance(name, str))
        elif isinstance(constant, types.CodeType):
            yield from _keywords(constant)


def _in_modules(names: set[str]) -> Iterator[_Source]:
    """What the program's modules hold of the tools and schemas of these names."""
    for module in own_modules():
        file = str(getattr(module, "__file__", None) or "")
        for name, value in list(vars(module).items()):
            yield from _in_value(f"{module.__name__}.{name}", value, names, file, _NESTED)


def _in_value(path: str, value: Any, names: set[str], file: str, depth: int) -> Iterator[_Source]:
    if _is_named(value, names):
        yield from _of_json(None, value, path, file) if isinstance(value, dict) else _of_any(None, value, path)
    elif depth and isinstance(value, dict):
        for key, inner in list(value.items())[:_MANY]:
            yield from _in_value(f"{path}[{key!r}]", inner, names, file, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for i, inner in enumerate(value[:_MANY]):
            yield from _in_value(f"{path}[{i}]", inner, names, file, depth - 1)


def _is_named(thing: Any, names: set[str]) -> bool:
    if isinstance(thing, BaseTool):
        return thing.name in names
    if isinstance(thing, type):
        return thing.__name__ in names and issubclass(thing, BaseModel) and package_of(thing.__module__) is None
    form = form_of(thing) if isinstance(thing, dict) else None
    return form is not None and form.name in names
