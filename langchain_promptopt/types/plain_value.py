"""What a chain said, as one plain value: the text of messages, the fields of objects, never a printed object.

Evaluators may read the rich value; the journal, reports, built-in matchers and the optimizer model get this one.
Ids and token counts are left out, so that two equal answers are equal. Objects are recognised by their shape: no class
of LangChain or of a provider is imported here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, time
from enum import Enum
from typing import Any

from langchain_promptopt._collections import map_values
from langchain_promptopt.errors import ConfigError

_DEEPEST = 20
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_MESSAGE_TYPES = frozenset({"ai", "human", "system", "tool", "function", "chat", "developer", "remove"})
ROLES = {"system": "system", "developer": "system", "user": "human", "human": "human", "assistant": "ai", "ai": "ai"}
"""Roles of messages that people write, by the names of LangChain and of providers, with LangChain's name of each."""
_ROLES = frozenset({*ROLES, "tool", "function", "model"})
_AI = frozenset({"ai", "assistant", "model"})
_ROLE_OF = {"ai": "assistant", "model": "assistant", "human": "user"}
_DUMPED = frozenset({"response_metadata", "additional_kwargs", "tool_calls", "tool_call_id"})
"""Beside its type and content, a message that was made a dict has some of these."""
_TEXT_BLOCKS = {"text": "text", "output_text": "text", "refusal": "refusal"}
"""Kinds of blocks that are text, and the field that holds it."""
_THOUGHTS = frozenset({"thinking", "reasoning", "redacted_thinking", "reasoning_content"})


def answer_of(value: Any) -> Any:
    """The answer in whatever a chain returned, made of texts, numbers, truth values, None, lists and dicts.

    A message is its text (thinking left out, tool calls by name and arguments where it makes some), a list of
    messages and a state with "messages" the last message of the model; dicts, dataclasses and pydantic objects are
    their fields.

    >>> answer_of({"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]})
    '4'
    >>> answer_of({"label": "refund", "urgent": False})
    {'label': 'refund', 'urgent': False}
    """
    return _plain(value, _DEEPEST)


def is_message(value: Any) -> bool:
    """Whether a value is a chat message: LangChain's, a provider's, or a dict of role and content.

    >>> is_message({"role": "assistant", "content": "hello"}), is_message({"type": "bug", "content": "it crashes"})
    (True, False)
    """
    if isinstance(value, dict | Mapping):
        if "content" not in value:
            return value.get("role") in _AI and "tool_calls" in value
        dumped = value.get("type") in _MESSAGE_TYPES and bool(value.keys() & _DUMPED)
        return dumped or (isinstance(value.get("role"), str) and value["role"] in _ROLES)
    if isinstance(value, str | type) or not hasattr(value, "content"):
        return False
    return role_of(value) in _MESSAGE_TYPES | _ROLES


def openai_role(message: Any) -> str:
    """`user`, `assistant`, `system`, `tool` ...: the role of a message in OpenAI's words."""
    return _ROLE_OF.get(role_of(message), role_of(message))


def tool_calls_of(message: Any) -> Any:
    """The tool calls of a message, if any."""
    return _of(message, "tool_calls")


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of chat messages, or a state that holds one under "messages"."""
    return _are_messages(value.get("messages") if isinstance(value, dict | Mapping) else value)


def holds_conversation(value: Any) -> bool:
    """Whether a value, or one of its fields, is a list of chat messages."""
    return is_conversation(value) or (isinstance(value, Mapping) and any(map(_are_messages, value.values())))


def recorded(output: Any, reference: Any, *, matched: bool) -> Any:
    """What is kept of an answer, and shown to the optimizer model: `answer_of` it, or the conversation.

    Matchers compare the last message. Other evaluators see all messages: where the model called tools, or the
    reference is a conversation, the fault may be in any of them.

    Args:
        output: What the chain returned.
        reference: The example's outputs.
        matched: Whether built-in matchers alone read the answer.
    """
    if matched or not is_conversation(output):
        return answer_of(output)
    messages = output["messages"] if isinstance(output, Mapping) else output
    if not any(map(tool_calls_of, messages)) and not holds_conversation(reference):
        return answer_of(output)
    said = _openai_form(messages)
    if not isinstance(output, Mapping):
        return said
    more = {str(k): _plain(v, _DEEPEST - 1) for k, v in output.items() if k != "messages"}
    return {"messages": said, **{k: v for k, v in more.items() if v not in (None, "", [], {})}}


def _openai_form(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Messages in OpenAI's form, which evaluators and LangSmith read. Ids are numbers: two equal answers are equal."""
    ids: dict[Any, str] = {}
    found = []
    for m in messages:
        role = openai_role(m)
        said: dict[str, Any] = {"role": role, "content": _text(_of(m, "content"))}
        if role == "assistant" and (calls := tool_calls_of(m)):
            said["tool_calls"] = []
            for call in calls:
                number = ids.setdefault(_of(call, "id"), f"call_{len(ids) + 1}")
                told = _call(call, _DEEPEST)
                function = {"name": told["name"], "arguments": json.dumps(told["args"], ensure_ascii=False)}
                said["tool_calls"].append({"id": number, "type": "function", "function": function})
        if role == "tool":
            asked = _of(m, "tool_call_id")
            said["tool_call_id"] = ids.get(asked, str(asked or ""))
        found.append(said)
    return found


def told(value: Any) -> Any:
    """A value as people and models read it: each conversation in it as `{"user": ...}`, `{"assistant": ...}` ...

    >>> told({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], "n": 1})
    {'messages': [{'user': 'hi'}, {'assistant': 'ho'}], 'n': 1}
    """
    if is_message(value):
        return {openai_role(value): _message(value, _DEEPEST)}
    if isinstance(value, Mapping):
        return map_values(told, value)
    return list(map(told, value)) if isinstance(value, list) else value


def told_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs or outputs of an example as people and models read them."""
    return map_values(told, values)


def copied(value: Any, depth: int = _DEEPEST) -> Any:
    """A value whose dicts, lists and messages are copies, so that what a chain or an evaluator does to them is undone.

    Other objects are the same ones.
    """
    if depth == 0 or type(value) is str:
        return value
    if type(value) is dict:
        found = {**value}
        for name in value:
            if type(item := value[name]) is not str:
                found[name] = copied(item, depth - 1)
        return found
    if type(value) is list:
        return [copied(item, depth - 1) for item in value]
    if isinstance(value, str):
        return value
    if is_message(value) and callable(copy := getattr(value, "model_copy", None)):
        lists = {name: copied(getattr(value, name, None), depth - 1) for name in ("content", "tool_calls")}
        return copy(update={name: item for name, item in lists.items() if item is not None})
    return value


def role_of(message: Any) -> str:
    """`ai`, `user` ...: the role of a message, else its type."""
    role = _of(message, "role")
    kind = role if isinstance(role, str) and role else _of(message, "type")
    return str(kind).removesuffix("MessageChunk").lower() if isinstance(kind, str) else ""


def _of(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def _plain(value: Any, depth: int) -> Any:
    if type(value) is str or value is None or isinstance(value, bool | int | float | str):
        return value if type(value) is str else _scalar(value)
    if depth == 0:
        return "..."
    if is_message(value):
        return _message(value, depth)
    if isinstance(value, dict | Mapping):
        return _mapping(value, depth)
    if isinstance(value, AbstractSet):
        return sorted((_plain(v, depth - 1) for v in value), key=repr)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _mapping(value._asdict(), depth)
    if isinstance(value, list | tuple):
        return _sequence(value, depth)
    return _object(value, depth)


def _scalar(value: Any) -> Any:
    if value is None or type(value) is str:
        return value
    if isinstance(value, str) and not isinstance(value, Enum):  # LangChain's own kind of text, mostly
        return str(value)
    if isinstance(value, Enum):
        return _scalar(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))  # JSON has no such number
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    return value


def _mapping(value: Mapping[Any, Any], depth: int) -> Any:
    """Fields by name; a state of messages is its last answer, beside its other fields where it has some."""
    if len(value) == 1:  # nearly all answers and references: one text by its name
        ((name, item),) = value.items()
        if type(item) is str and type(name) is str:
            return {name: item}
    if value.get("lc") == 1 and isinstance(inner := value.get("kwargs"), Mapping):  # LangChain's serialized form
        return _message(inner, depth) if "content" in inner else _plain(inner, depth - 1)
    messages: Any = value.get("messages")
    if not _are_messages(messages):
        return {str(name): _member(name, item, depth - 1) for name, item in value.items()}
    said = _sequence(messages, depth)
    more = {}
    for k, v in value.items():
        if k != "messages":
            more[str(k)] = _plain(v, depth - 1)
    more = {k: v for k, v in more.items() if v not in (None, "", [], {})}
    return {"messages": said, **more} if more else said


def _member(name: Any, value: Any, depth: int) -> Any:
    """A field of a dict. Tool calls lose their ids, which are others in every run."""
    if name == "tool_calls" and isinstance(value, list) and all(isinstance(c, Mapping) and "id" in c for c in value):
        return [_call(c, depth) for c in value]
    return _plain(value, depth)


def _are_messages(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(is_message, value))


def _sequence(values: Sequence[Any], depth: int) -> Any:
    if not _are_messages(values):
        return [_plain(v, depth - 1) for v in values]
    last = next((m for m in reversed(values) if role_of(m) in _AI), values[-1])
    return _message(last, depth)


def _message(message: Any, depth: int) -> Any:
    """The text; with the calls a model wants made, where it wants some."""
    more = _of(message, "additional_kwargs") or {}
    text = _text(_of(message, "content"))
    if not text:
        text = str(more.get("refusal") or _of(message, "refusal") or _of(more.get("audio"), "transcript") or "")
    said: dict[str, Any] = {"text": text} if text else {}
    if role_of(message) in _AI:
        asked = _of(message, "tool_calls") or list(filter(None, (more.get("function_call"),)))
        for name, calls in (("tool_calls", asked), ("invalid_tool_calls", _of(message, "invalid_tool_calls") or ())):
            if calls:
                said[name] = [_call(c, depth) for c in calls]
    if said.keys() - {"text"}:
        return said
    return text if text or more.get("parsed") is None else _plain(more["parsed"], depth - 1)


def _text(content: Any) -> str:
    """The text of a content, which may be a list of blocks. Other blocks are named where there is no text at all."""
    if content is None or isinstance(content, str):
        return str(content or "")
    blocks = content if isinstance(content, list | tuple) else [content]
    texts: list[Any] = []
    for b in blocks:
        if _is_text(b):
            if isinstance(b, str):
                texts.append(b)
            else:
                texts.append(_of(b, _TEXT_BLOCKS[_of(b, "type")]))
    if texts:
        return "".join(str(t) for t in texts if t is not None)
    return " ".join(f"[{_of(b, 'type')}]" for b in blocks if _of(b, "type") not in {None, "tool_use", *_THOUGHTS})


def _is_text(block: Any) -> bool:
    return isinstance(block, str) or _of(block, "type") in _TEXT_BLOCKS


def _call(call: Any, depth: int) -> dict[str, Any]:
    """A tool call without its id, which is another one in every run."""
    function = _of(call, "function")
    given = call if function is None else function
    args = _of(given, "args")
    if args is None:
        args = _read(_of(given, "arguments"))
    return {"name": _of(given, "name"), "args": _plain(args, depth - 1)}


def _read(arguments: Any) -> Any:
    """The arguments of a call, which OpenAI sends as JSON text; a text that is none stays as it is."""
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
    return found if isinstance(found, dict) else arguments


def _object(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value, depth - 1)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    for reading in ("item", "tolist"):  # numpy's and pandas' scalars, then arrays
        found = _called(value, reading)
        if found is not None:
            return _plain(found, depth - 1)
    replied = _reply_in(value)
    if replied is not None:
        return _plain(replied, depth - 1)
    named = _fields(value)
    if named is not None:
        is_root = named.keys() == {"root"} and getattr(type(value), "__pydantic_root_model__", False)
        return _plain(named["root"], depth - 1) if is_root else _mapping(named, depth)
    if isinstance(value, Iterable) and hasattr(value, "__len__"):
        return [_plain(v, depth - 1) for v in value]
    return _printed(value, depth)


def _called(value: Any, name: str) -> Any:
    method = getattr(value, name, None)
    if method is None or isinstance(value, type) or not hasattr(value, "dtype"):
        return None
    try:
        return method()
    except (TypeError, ValueError):  # an array of many values is no item
        return None


def _reply_in(value: Any) -> Any:
    """The message or text in what a provider's client, a template or a model's `generate` returned."""
    if callable(to_messages := getattr(value, "to_messages", None)):
        return to_messages()
    if isinstance(text := getattr(value, "output_text", None), str):
        return text
    if isinstance(choices := getattr(value, "choices", None), list) and choices:
        return getattr(choices[0], "message", None) or getattr(choices[0], "text", None)
    if isinstance(batches := getattr(value, "generations", None), list) and batches:
        return batches[0][0] if isinstance(batches[0], list) and batches[0] else batches[0]
    if hasattr(value, "generation_info"):
        return getattr(value, "message", None) or getattr(value, "text", None)
    return None


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Fields of a dataclass or a pydantic object; a document is its text and its metadata."""
    if isinstance(value, type):
        return None
    if hasattr(value, "page_content"):
        return {"page_content": value.page_content, "metadata": getattr(value, "metadata", {})}
    if is_dataclass(value):
        return {f.name: getattr(value, f.name, None) for f in fields(value)}
    declared = getattr(type(value), "model_fields", None) or getattr(type(value), "__fields__", None)
    if not isinstance(declared, Mapping):
        return None
    return {name: getattr(value, name, None) for name in (*declared, *(getattr(value, "model_extra", None) or ()))}


def _printed(value: Any, depth: int) -> Any:
    """What an object says of itself; its attributes where it says nothing but its address."""
    if isinstance(value, Iterator | AsyncIterator):
        msg = f"the answer is a {type(value).__name__}, which says nothing until it is read"
        raise ConfigError(msg, mend="Return what it gives: a list, or the joined text.")
    kind: Any = type(value)
    if kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__:
        return _ADDRESS.sub("", str(value))
    names = list(getattr(value, "__dict__", ()))
    for owner in kind.__mro__:
        names += [n for n in getattr(owner, "__slots__", ()) if hasattr(value, n)]
    names = [n for n in names if not n.startswith("_")]
    return {n: _plain(getattr(value, n), depth - 1) for n in names} if names else kind.__qualname__
