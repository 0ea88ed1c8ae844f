"""Tools and schemas in the forms in which a model is sent them: what they are called, and the texts in them by path.

A path is empty for the description of the whole, and `item` or `lines.sku` for that of an argument or a field; lists
and alternatives add nothing to it.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

SchemaKind: TypeAlias = Literal["tool", "schema"]
Node: TypeAlias = dict[str, Any]
"""A JSON object that holds a text as its "description"."""

_TOOLS = ("tools", "functions")
_SCHEMAS = ("response_format", "text_format", "text", "format", "output_format", "response_schema")
_STRUCTURED = "ls_structured_output_format"
"""The argument in which LangChain names the schema of structured output, whatever form the provider is sent it in."""
_INSIDE = ("function", "json_schema", "toolSpec", "format")
_PARAMETERS = ("parameters", "input_schema", "schema", "inputSchema")
_CHOICES = ("anyOf", "allOf", "oneOf", "prefixItems")
_REFUSALS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What LangChain and pydantic raise for a class or function that is no tool."""


@dataclass(frozen=True)
class Form:
    """A tool or a schema: its name, and the JSON objects that hold its texts, each with its path."""

    name: str
    parts: tuple[tuple[str, Node], ...]

    @property
    def texts(self) -> dict[str, str]:
        """The text at each path; of several, the first."""
        found: dict[str, str] = {}
        for path, node in self.parts:
            found.setdefault(path, node["description"])
        return found


def form_of(entry: Any) -> Form | None:
    """The form of one entry of what a model is sent; None where it is no tool and no schema with a name."""
    if not isinstance(entry, Mapping):
        return None
    inner = next((entry[key] for key in _INSIDE if isinstance(entry.get(key), Mapping)), entry)
    schema = next((inner[key] for key in _PARAMETERS if isinstance(inner.get(key), Mapping)), None)
    if schema is None:
        schema = inner if "properties" in inner or inner.get("type") == "object" else {}
    schema = schema["json"] if isinstance(schema.get("json"), Mapping) else schema
    name = inner.get("name") or inner.get("title") or schema.get("title")
    if not isinstance(name, str) or not (schema or "description" in inner):
        return None
    nodes = [inner] if inner is schema else [inner, schema]
    tops = [("", node) for node in nodes if isinstance(node, dict) and _is_told(node)]
    return Form(name, (*tops, *_below(schema, schema, "", ())))


def _is_told(node: Mapping[str, Any]) -> bool:
    text = node.get("description")
    return isinstance(text, str) and bool(text.strip())


def _below(schema: Any, root: Mapping[str, Any], path: str, seen: tuple[str, ...]) -> Iterator[tuple[str, Node]]:
    """The described parts of a JSON schema below its top.

    Args:
        schema: Where to look.
        root: The whole, in which references are looked up.
        path: The path of `schema`.
        seen: References that led here: a schema may hold itself.
    """
    if not isinstance(schema, Mapping):
        return
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        yield from _below(_referred(reference, root), root, path, (*seen, reference))
    properties = schema.get("properties")
    for name, node in properties.items() if isinstance(properties, Mapping) else ():
        at = f"{path}.{name}" if path else str(name)
        if isinstance(node, dict) and _is_told(node):
            yield at, node
        yield from _below(node, root, at, seen)
    for key in _CHOICES:
        for choice in schema.get(key) or ():
            yield from _below(choice, root, path, seen)
    for key in ("items", "additionalProperties"):
        yield from _below(schema.get(key), root, path, seen)


def _referred(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for key in reference.removeprefix("#/").split("/"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def json_form(entry: Any) -> Form | None:
    """As `form_of`, also for classes, tools and functions, which LangChain turns into JSON before they are sent."""
    if isinstance(entry, Mapping):
        return form_of(entry)
    if not (isinstance(entry, type | BaseTool) or callable(entry)):
        return None
    try:
        return form_of(convert_to_openai_function(entry))
    except _REFUSALS:
        return None


def entries_of(call: Mapping[str, Any]) -> Iterator[tuple[SchemaKind, Any]]:
    """The tools and schemas among the arguments of a call of a model, or of a binding of one.

    Args:
        call: The keyword arguments.
    """
    structured = call.get(_STRUCTURED)
    schema = structured.get("schema") if isinstance(structured, Mapping) else None
    meant = json_form(schema)
    for key in _TOOLS:
        given = call.get(key)
        for entry in given if isinstance(given, list | tuple) else ():
            form = json_form(entry)
            yield "schema" if meant is not None and form is not None and form.name == meant.name else "tool", entry
    for key in _SCHEMAS:
        if isinstance(call.get(key), Mapping | type):
            yield "schema", call[key]


def structured_schema(call: Mapping[str, Any]) -> Any:
    """What LangChain notes of the schema in a call, which is not sent; None without structured output."""
    structured = call.get(_STRUCTURED)
    return structured.get("schema") if isinstance(structured, Mapping) else None


def with_entries(call: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The arguments of a call with each tool and schema changed.

    Args:
        call: The keyword arguments, which stay as they are.
        change: Gives what is sent in place of an entry, or the entry itself.
    """
    changed = dict(call)
    for key in _TOOLS:
        if isinstance(call.get(key), list | tuple):
            changed[key] = list(map(change, call[key]))
    for key in _SCHEMAS:
        if isinstance(call.get(key), Mapping | type):
            changed[key] = change(call[key])
    return changed


def with_texts(entry: Any, texts: Mapping[str, str]) -> Any:
    """A tool or schema with other texts at some paths; the entry itself stays as it is.

    Args:
        entry: JSON, a pydantic class or a tool.
        texts: By path.
    """
    if isinstance(entry, BaseTool):
        below = {path: text for path, text in texts.items() if path}
        changes: dict[str, Any] = {"description": texts[""]} if "" in texts else {}
        if below:
            changes["args_schema"] = with_texts(entry.args_schema, below)
        return entry.model_copy(update=changes)
    if isinstance(entry, type):
        return _retold(entry, tuple(sorted(texts.items()))) if issubclass(entry, BaseModel) else entry
    made = copy.deepcopy(entry)
    form = form_of(made) or Form("", tuple(_below(made, made, "", ())))
    for path, node in form.parts:
        if path in texts:
            node["description"] = texts[path]
    return made


@lru_cache(maxsize=512)
def _retold(kind: type[BaseModel], texts: tuple[tuple[str, str], ...]) -> type[BaseModel]:
    """A class that has another JSON schema; what it reads are objects of the class itself."""
    told = dict(texts)

    def model_json_schema(cls: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        made: dict[str, Any] = with_texts(super(retold, cls).model_json_schema(*args, **kwargs), told)
        return made

    def as_ever(name: str) -> Any:
        read = getattr(kind, name)
        return classmethod(lambda _, *args, **kwargs: read(*args, **kwargs))

    space: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    space["__doc__"] = told.get("", kind.__doc__)
    space["model_json_schema"] = classmethod(model_json_schema)
    space |= {name: as_ever(name) for name in ("model_validate", "model_validate_json", "model_validate_strings")}
    retold: type[BaseModel] = types.new_class(kind.__name__, (kind,), exec_body=lambda made: made.update(space))
    return retold


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The pydantic classes that a field's type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)
