"""Prompts in users' own files: which layouts are read, and how others are refused.

A text file is one prompt. A YAML or JSON file is read by its keys: messages, a template, keys that
are roles (`system`, `user_prompt_template`), or several named prompts, of which the caller names one
("prompts.yaml#triage"). What is not sent to a model (name, version, model parameters) is left out, with
a note. What could be part of the prompt and is not understood is refused with the keys found: a verdict
about half a prompt would say nothing about the prompt in use.

This package saves prompts as a folder with one JSON file a prompt.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from langchain_promptopt._collections import all_are, parted
from langchain_promptopt._files.rewrite import read_text, replace_file
from langchain_promptopt._text.templates import FORMATS, TemplateFormat, likely_formats, parse_template
from langchain_promptopt.errors import PromptError
from langchain_promptopt.types import ROLES, Message, Prompt, PromptSet

VERSION = 1
"""Of the files `save_prompts` writes, under the key `promptopt`."""
DATA = frozenset({".json", ".yaml", ".yml"})
"""Files that are read by their keys."""
BY_ENDING: Mapping[str, TemplateFormat] = {
    ".j2": "jinja2",
    ".jinja": "jinja2",
    ".jinja2": "jinja2",
    ".mustache": "mustache",
}
"""Template formats that a file's ending says."""

_CODE = frozenset({".js", ".ts", ".tsx", ".jsx", ".java", ".go", ".rb", ".rs", ".cs", ".kt", ".php", ".sh", ".ps1"})
_ROWS = frozenset({".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".xlsx", ".arrow"})
_OTHERS = {
    ".ipynb": "a notebook",
    ".prompty": "a .prompty file, which mixes settings and messages",
    ".poml": "a .poml file, which a program has to render",
    ".hbs": "a Handlebars file",
    ".handlebars": "a Handlebars file",
    ".toml": "a file of settings",
    ".liquid": "a Liquid template",
    ".baml": "a BAML file, which is source code",
    ".ini": "a file of settings",
    ".cfg": "a file of settings",
    ".env": "a file of settings",
    ".properties": "a file of settings",
    ".docx": "a document",
    ".pdf": "a document",
}

_ROLE_ENDS = re.compile(r"_(prompt_template|message_template|prompt|message|template|text|content|instructions?)$")
_MAIN = ("template", "prompt", "content", "text")
"""Keys whose value is the prompt, or its last message where a key beside it is a role."""
_WRAPPERS = ("prompts", "templates")
_SETTINGS = frozenset(
    {
        "_type", "author", "authors", "category", "commit", "commit_hash", "commit_message", "config", "created",
        "created_at", "date", "defaultTest", "description", "evaluators", "frequency_penalty", "id",
        "input_variables", "inputs", "label", "labels", "language", "license", "max_completion_tokens",
        "max_tokens", "metadata", "model", "modelParameters", "model_config", "model_parameters", "name", "notes",
        "owner", "parameters", "presence_penalty", "provider", "providers", "scenarios", "seed", "slug", "stop",
        "stream", "tags", "temperature", "template_format", "testData", "tests", "title", "top_k", "top_p", "type",
        "updated_at", "url", "variables", "version",
    }
)  # fmt: skip
"""Keys that say something about a prompt and are no part of its text."""
_SHOTS = frozenset({"demonstrations", "demos", "examples", "exemplars", "few_shot", "few_shots", "fewshot", "shots"})
"""Keys of examples that a program would put into the prompt."""
_SENT = frozenset({"additional_kwargs", "cache_control", "function_call", "name", "tool_call_id", "tool_calls"})
"""Keys of a message, beside role and text, that would change what is sent."""
_READ = "messages, template, prompt, keys that are roles (system, user, assistant), or one of these under a name"
_KINDS = {"SystemMessagePromptTemplate": "system", "HumanMessagePromptTemplate": "human"}
_KINDS |= {"AIMessagePromptTemplate": "ai"}


@dataclass(frozen=True)
class PromptFile:
    """A prompt read from a file. `values` are bound by the file; `notes` say what of the file is not used."""

    prompt: Prompt
    values: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where a value is: file, name of the prompt in it, and the template format that applies there."""

    path: Path
    part: str
    template_format: TemplateFormat

    @property
    def named(self) -> str:
        return f"{self.path}#{self.part}" if self.part else str(self.path)

    def refuse(self, what: str, mend: str = "") -> NoReturn:
        raise PromptError(what, where=self.named, mend=mend or f"Read are: {_READ}.")

    def under(self, data: Any) -> _Place:
        """The same place under what `data` itself says about its template format."""
        said = data.get("template_format", data.get("templateFormat")) if isinstance(data, Mapping) else None
        if said is None:
            return self
        given = {"jinja": "jinja2"}.get(said, said)
        for known in FORMATS:
            if given == known:
                return replace(self, template_format=known)
        self.refuse(f"{given!r} is no template format", f"Use one of {', '.join(FORMATS)}.")


def read_prompt_file(path: str | Path, template_format: TemplateFormat | None = None, part: str = "") -> PromptFile:
    """The prompt in a user's own file.

    Args:
        path: A text file, or YAML or JSON.
        template_format: Of templates that do not name their own; None goes by the file's ending, else "f-string".
        part: Name of the prompt where the file holds several; dots lead to deeper names.

    Raises:
        PromptError: The file cannot be read as one prompt; the message says what was found and what works.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    _refuse_kind(path, suffix)
    place = _Place(path, part, template_format or BY_ENDING.get(suffix, "f-string"))
    if suffix in DATA:
        whole = parsed(path)
        name, data = _part(whole, place)
        found = _read(data, name, place.under(data))
        if not part and isinstance(whole, Mapping) and data is not whole:  # the one prompt of the file
            used = {name, *_WRAPPERS}
            _refuse_unread(whole, used, place)
            found = _with(found, found.values, _unused(whole, used, place))
        return _checked(found)
    if part:
        place.refuse(f"a {suffix or 'text'} file is one prompt and has no part {part!r}", "Name the file alone.")
    text = read_text(path).removeprefix("\ufeff")
    if not text.strip():
        place.refuse("the file is empty", "Write the prompt's text into it.")
    if "\0" in text:
        place.refuse("the file holds the character NUL, so it is no text", "Write the prompt's text into it.")
    _refuse_front_matter(text, place)
    by_ending = template_format is None and suffix in BY_ENDING
    notes = (f"{path.name}: read as {place.template_format}, because of its ending",) if by_ending else ()
    return _checked(PromptFile(_text_prompt(path.stem, text, place), notes=notes))


def prompt_in_code(value: Any, name: str) -> PromptFile:
    """The prompt that a constant of the user's code is: a text, or a list of messages.

    Raises:
        PromptError: It is neither.
    """
    place = _Place(Path(name), "", "f-string")
    data = value
    if isinstance(value, list):
        data = [list(item) if isinstance(item, tuple) else item for item in value]
    found = _read(data, name.rpartition(":")[2].rpartition(".")[2].lower(), place)
    return _checked(PromptFile(replace(found.prompt, source=name), found.values, found.notes))


def parsed(path: Path) -> Any:
    """The data in a YAML or JSON file. Raises PromptError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = read_text(path).removeprefix("\ufeff")
    try:
        return (
            json.loads(text, object_pairs_hook=_once) if path.suffix.lower() == ".json" else YAML(typ="safe").load(text)
        )
    except (ValueError, YAMLError) as error:
        msg = f"the file cannot be read: {error}"
        raise PromptError(msg, where=str(path)) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; the last of two values under one key would hide the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        msg = f"the key {twice!r} stands there twice"
        raise ValueError(msg)
    return found


def _refuse_kind(path: Path, suffix: str) -> None:
    """Files of other kinds, each with the form that works."""
    in_code = "Name the object in your code that holds it, as module:object"
    what, mend = "", ""
    if suffix == ".py":
        what = "a Python file is no prompt"
        mend = f"{in_code}: {_python_names(path)}."
    elif suffix in _CODE:
        what, mend = f"a {suffix} file is source code, no prompt", "Write the prompt's text into a file of its own."
    elif suffix in _ROWS:
        what, mend = f"a {suffix} file holds examples, no prompt", "Give examples with --data (config: data.source)."
    elif suffix in _OTHERS:
        what = f"this is {_OTHERS[suffix]}, and it is not read as a prompt"
        mend = f"{in_code}, or write the messages into YAML: system: ..., user: ...."
    if what:
        raise PromptError(what, where=str(path), mend=mend)


def _python_names(path: Path) -> str:
    """Module-level names as "module:name"; texts first."""
    try:
        tree = ast.parse(read_text(path))
    except (PromptError, SyntaxError, ValueError):
        tree = ast.Module([], [])
    texts: list[str] = []
    others: list[str] = []
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = []
        for t in targets:
            if isinstance(t, ast.Name) and not t.id.startswith("__"):
                names.append(t.id)
        value = getattr(node, "value", None)
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        (texts if is_text else others).extend(names)
    found = [f"{path.stem}:{name}" for name in (*texts, *others)][:5]
    return " or ".join(found) or f"{path.stem}:NAME"


_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)


def _refuse_front_matter(text: str, place: _Place) -> None:
    """A block of settings above the text: whether a program sends it cannot be told from the file."""
    found = _FRONT.match(text)
    keys = re.findall(r"(?m)^([A-Za-z_][\w-]*)[ \t]*:", found[1]) if found else []
    if keys:
        what = (
            f"the file begins with front matter ({', '.join(keys)}), and nothing says whether it is sent to the model"
        )
        place.refuse(
            what, "Keep the prompt's text in a file without it, or name the object in your code: module:object."
        )


def _part(data: Any, place: _Place) -> tuple[str, Any]:
    """Name and data of the one prompt that is meant."""
    if place.part:
        return place.part.rpartition(".")[2], _at(data, place)
    found = _several(data)
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        names = list(found)
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        mend = f'Name one: "{place.path.name}#{names[0]}". Each can be optimized by itself.'
        place.refuse(f"the file holds {len(names)} prompts: {shown}", mend)
    name = data.get("name") if isinstance(data, Mapping) else None
    return name if isinstance(name, str) and name else place.path.stem, data


def _at(data: Any, place: _Place) -> Any:
    """The data under the names of `place.part`, wrappers such as `prompts:` passed through."""
    left = place.part
    while left:
        choices = _choices(data)
        key = left if left in choices else left.partition(".")[0]
        if key not in choices:
            here = ", ".join(choices) or "none"
            place.refuse(f"the file has no prompt {place.part!r}", f"It has: {here}.")
        data, left = choices[key], left[len(key) + 1 :]
    return data


def _choices(data: Any) -> dict[str, Any]:
    """What a name may lead to: the keys of a mapping, or named and numbered items of a list."""
    if isinstance(data, Mapping):
        wrapped = next((data[key] for key in _WRAPPERS if isinstance(data.get(key), Mapping | list)), None)
        inner = {} if wrapped is None else _choices(wrapped)
        return inner | {str(key): value for key, value in data.items()}
    if isinstance(data, list):
        return {_item_name(item, n): item for n, item in enumerate(data, start=1)}
    return {}


def _item_name(item: Any, number: int) -> str:
    if not isinstance(item, Mapping):
        return str(number)
    return next((str(item[key]) for key in ("name", "id", "label") if item.get(key)), str(number))


def _several(data: Any) -> dict[str, Any]:
    """The named prompts of a file that is no prompt itself; {} where it is one, or holds none."""
    if isinstance(data, list):
        texts = all_are(data, str)
        bodies = all(isinstance(item, Mapping) and _is_body(item) and "role" not in item for item in data)
        return _choices(data) if data and (texts or bodies) else {}
    if not isinstance(data, Mapping) or _is_body(data):
        return {}
    for key in _WRAPPERS:
        if key in data:
            return _several(data[key]) or ({} if isinstance(data[key], list) else _choices(data[key]))
    found: dict[str, Any] = {}
    for k, v in data.items():
        if k not in _SETTINGS and _may_be_prompt(v):
            found[str(k)] = v
    return found


def _is_body(data: Mapping[str, Any]) -> bool:
    """Whether a mapping is one prompt by its keys."""
    if {"promptopt", "lc", "messages"} & data.keys() or data.get("_type"):
        return True
    main = any(isinstance(data.get(key), str | list) for key in _MAIN)
    return main or any(_role_of(key) and isinstance(value, str | list) for key, value in data.items())


def _may_be_prompt(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.split()) > 1
    if isinstance(value, list):
        return bool(value) and all(isinstance(v, Mapping) and "role" in v for v in value)
    return isinstance(value, Mapping) and (_is_body(value) or any(map(_may_be_prompt, value.values())))


def _read(data: Any, name: str, place: _Place) -> PromptFile:
    if isinstance(data, Mapping):
        return _from_mapping(data, name, place)
    if isinstance(data, str):
        if data.startswith("file://"):
            place.refuse(f"the text is in another file ({data})", "Name that file.")
        return PromptFile(_text_prompt(name, data, place))
    if isinstance(data, list) and data:
        return PromptFile(Prompt(name, _messages(data, place), str(place.path)), notes=_unused_of(data, place))
    place.refuse("the file holds no prompt")


def _from_mapping(data: Mapping[str, Any], name: str, place: _Place) -> PromptFile:
    if "promptopt" in data:
        return PromptFile(from_saved(data, str(place.path)))
    if "lc" in data:
        return _from_dumps(data, name, place)
    if isinstance(data.get("role"), str):
        return PromptFile(Prompt(name, (_message(data, 0, place),), str(place.path)))
    _refuse_type(data, place)
    roles = _roles_in(data)
    main = next((key for key in ("messages", *_MAIN) if key in data), None)
    used = {*roles, *({main} if main else ()), "partial_variables"}
    if not roles and main is None:
        place.refuse(f"no prompt was found under the keys {', '.join(map(str, data)) or '(none)'}")
    _refuse_unread(data, used, place)
    notes = _unused(data, used, place)
    values = _partials(data, place)
    if not roles and main is not None:
        body = _text(data[main], place) if main != "messages" else data[main]
        if isinstance(body, Mapping):
            place.refuse(f"{main!r} holds the keys {', '.join(map(str, body))}")
        return _with(_read(body, name, place), values, notes)
    own = [Message(role, _only_text(data[key], key, place), place.template_format) for key, role in roles.items()]
    last = []
    if main is not None and main != "messages":
        last = [Message("human", _only_text(data[main], main, place), place.template_format)]
    listed = _messages(data["messages"] or [], place) if main == "messages" else ()
    system, others = parted(own, lambda m: m.role == "system")  # providers take it first, wherever the file has it
    messages = (*system, *listed, *others, *last)
    return _with(PromptFile(Prompt(name, messages, str(place.path))), values, notes)


def _with(found: PromptFile, values: Mapping[str, Any], notes: tuple[str, ...]) -> PromptFile:
    return PromptFile(found.prompt, values, tuple(dict.fromkeys((*found.notes, *notes))))


def _role_of(key: Any) -> str:
    """The role that a key names, "" for none: `system`, `systemPrompt`, `user_prompt_template`."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(key)).lower().replace("-", "_").replace(" ", "_")
    return ROLES.get(_ROLE_ENDS.sub("", snake), "")


def _roles_in(data: Mapping[str, Any]) -> dict[str, str]:
    """The keys that hold the text of one message, each with the role that it names."""
    found = {}
    for key in data:
        role = _role_of(key)
        if role:
            found[key] = role
    return found


def _refuse_type(data: Mapping[str, Any], place: _Place) -> None:
    kind = data.get("_type")
    if kind not in {None, "prompt", "chat"}:
        place.refuse(f"this is LangChain's {kind!r} prompt, which is built in code", "Name it there: module:object.")
    for key in ("template_path", "template_file", "file", "path"):
        if isinstance(data.get(key), str) and not any(k in data for k in _MAIN):
            place.refuse(f"the text is in another file ({data[key]})", "Name that file.")


def _refuse_unread(data: Mapping[str, Any], used: set[str], place: _Place) -> None:
    """A key with text that is not understood may be part of what is sent."""
    unread = []
    for k, v in data.items():
        if k not in used and k not in _SETTINGS and (_holds_text(v) or (v and str(k).lower() in _SHOTS)):
            unread.append(str(k))
    if unread:
        read = ", ".join(sorted(used & data.keys()))
        what = f"the file has text under {', '.join(unread)}, which is not read (read: {read})"
        place.refuse(what, "Remove it, or write all that is sent as messages: [{role: ..., content: ...}].")


def _holds_text(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.split()) > 1 or "{" in value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(map(_holds_text, inner))


def _unused(data: Mapping[str, Any], used: set[str], place: _Place) -> tuple[str, ...]:
    silent = {"name", "template_format", "templateFormat", "_type", "input_variables"}
    left = [str(k) for k in data if k not in used and k not in silent]
    messages = data["messages"] if isinstance(data.get("messages"), list) else []
    return (*((f"{place.path.name}: not used: {', '.join(left)}",) if left else ()), *_unused_of(messages, place))


def _unused_of(messages: list[Any], place: _Place) -> tuple[str, ...]:
    """What of messages is not used."""
    read = {"role", "type", "template_format", "templateFormat", *_MAIN}
    left: list[str] = []
    for item in messages:
        if isinstance(item, Mapping):
            left += list(map(str, item.keys() - read - _SENT))
    left = sorted(set(left))
    return (f"{place.path.name}: not used of its messages: {', '.join(left)}",) if left else ()


def _partials(data: Mapping[str, Any], place: _Place) -> dict[str, Any]:
    values = data.get("partial_variables") or {}
    if not isinstance(values, Mapping) or any(isinstance(part, Mapping | list) for part in values.values()):
        place.refuse("partial_variables is no table of plain values", "Write partial_variables: {name: value}.")
    return dict(values)


def _text_prompt(name: str, text: str, place: _Place) -> Prompt:
    return Prompt(name, (Message("human", text, place.template_format),), str(place.path), kind="string")


def _messages(items: list[Any], place: _Place) -> tuple[Message, ...]:
    if len(items) > 1 and all_are(items, str):
        place.refuse(
            f"a list of {len(items)} texts is no prompt", "Write messages: [{role: system, content: ...}, ...]."
        )
    return tuple(_message(item, i, place) for i, item in enumerate(items))


def _message(item: Any, index: int, place: _Place) -> Message:
    role: Any = None
    text: Any = None
    if isinstance(item, str):
        role, text = "human", item
    elif isinstance(item, list) and len(item) == 2:  # [role, text]
        role, text = item
    elif isinstance(item, Mapping):
        place = place.under(item)
        role = item.get("role", item.get("type"))
        text = next((item[key] for key in _MAIN if key in item), item.get("name") if role == "placeholder" else None)
        sent = [key for key in item if key in _SENT and item[key] and role != "placeholder"]
        if sent:
            place.refuse(
                f"message {index} has {', '.join(sent)}, which would not be sent", "Keep it in code: module:object."
            )
    if not isinstance(role, str) or text is None:
        msg = f"{str(item)[:200]!r} is no message"
        mend = "A message is {role, content} or [role, text]."
        raise PromptError(msg, where=f"{place.named}, message {index}", mend=mend)
    text = _only_text(text, f"message {index}", place)
    role = ROLES.get(role, role)
    if role == "placeholder":
        return Message(role, "{" + text.strip("{} ") + "}", "f-string", editable=False)
    return Message(role, text, place.template_format)


def _only_text(value: Any, key: str, place: _Place) -> str:
    """A text, a list of its lines, or one plain text block."""
    value = _text(value, place)
    if value is None or isinstance(value, bool | int | float):
        place.refuse(f"{key} is {json.dumps(value)}, which is no text", "Put it in quotes.")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        block = value[0]
        value = block["text"] if block.keys() <= {"type", "text"} and "text" in block else value
    if isinstance(value, str):
        return value
    what = f"{key} is a {type(value).__name__} of other things than text"
    place.refuse(what, "Content blocks, images and tool calls are kept in code: name the prompt there, module:object.")


def _text(value: Any, place: _Place | None = None) -> Any:
    """A template, given as a text or as a list of lines."""
    has_lines = isinstance(value, list) and bool(value) and all_are(value, str)
    if has_lines and place is not None and not all(line[-1:].isspace() for line in value[:-1]):
        what = f"a list of {len(value)} texts may be lines or parts of lines"
        place.refuse(what, 'Write one text, or end each line with a line break: "...\\n".')
    return "".join(value) if has_lines else value


def _saved_message(data: Mapping[str, Any]) -> Message:
    editable = not data.get("frozen", False)
    return Message(data["role"], _text(data["template"]), data["template_format"], editable=editable)


def from_saved(data: Mapping[str, Any], where: str) -> Prompt:
    """The prompt in the data of one saved file. Raises PromptError."""
    if data.get("promptopt") != VERSION:
        msg = f"the file has version {data.get('promptopt')!r}, this program reads {VERSION}"
        raise PromptError(msg, where=where)
    try:
        messages = list(map(_saved_message, data["messages"]))
        prompt = Prompt(
            name=data["name"],
            messages=tuple(messages),
            source=data.get("source", ""),
            partials=tuple(data["partials"]),
            kind=data["kind"],
            replaces=str(data.get("replaces", "")),
        )
    except (KeyError, TypeError) as error:
        msg = f"the saved prompt is damaged: {error}"
        raise PromptError(msg, where=where) from error
    for message in prompt.messages:
        _ = message.parsed  # a template that does not parse is refused here, with its file
    return prompt


def _from_dumps(data: Mapping[str, Any], name: str, place: _Place) -> PromptFile:
    """`langchain_core.load.dumps(prompt)`, read as data: nothing is imported or built."""
    kind, fields = _constructor(data, place)
    values = fields.get("partial_variables") or {}
    if any(isinstance(v, Mapping) and "lc" in v for v in values.values()):
        place.refuse("partial variables in it are objects", _DUMPED)
    if kind == "PromptTemplate":
        own = place.under(fields)
        return PromptFile(_text_prompt(name, _only_text(fields.get("template"), "template", own), own), dict(values))
    if kind != "ChatPromptTemplate":
        place.refuse(f"it holds a {kind}", _DUMPED)
    found = []
    for message in fields.get("messages", ()):
        found.append(_dumped_message(message, place))
    messages = tuple(found)
    return PromptFile(Prompt(name, messages, str(place.path)), dict(values))


_DUMPED = "This is LangChain's serialized form (dumps), of which text prompts are read. Name the object: module:object."


def _constructor(data: Any, place: _Place) -> tuple[str, Mapping[str, Any]]:
    try:
        return str(data["id"][-1]), data["kwargs"]
    except (KeyError, TypeError, IndexError):
        place.refuse("it is not complete", _DUMPED)


def _dumped_message(data: Any, place: _Place) -> Message:
    kind, fields = _constructor(data, place)
    if kind == "MessagesPlaceholder":
        return Message("placeholder", f"{{{fields['variable_name']}}}", "f-string", editable=False)
    inner = fields.get("prompt")
    if kind not in _KINDS or not isinstance(inner, Mapping):
        place.refuse(f"a message in it is a {kind}", _DUMPED)
    of, template = _constructor(inner, place)
    if of != "PromptTemplate":
        place.refuse(f"a message in it is made of a {of}", _DUMPED)
    own = place.under(template)
    return Message(_KINDS[kind], _only_text(template.get("template"), "template", own), own.template_format)


def _checked(found: PromptFile) -> PromptFile:
    """The same, with every template parsed once, so that a bad one is named with its file."""
    prompt = found.prompt
    for i, message in enumerate(prompt.messages):
        try:
            _ = message.parsed
        except PromptError as error:
            meant = _other_format(message)
            mend = f'Set template_format = "{meant}" (--template-format {meant}).' if meant else error.mend
            raise PromptError(error.what, where=f"{prompt.source}, message {i}", mend=mend) from error
    unbound = sorted(found.values.keys() - prompt.variables)
    if unbound:
        msg = f"partial_variables binds {', '.join(unbound)}, and the prompt has no such variable"
        raise PromptError(msg, where=prompt.source, mend="Remove it, or check template_format.")
    return found


def _other_format(message: Message) -> TemplateFormat | None:
    """The format in which a template that cannot be read has variables."""
    for one in likely_formats(message.template):
        try:
            if one != message.template_format and parse_template(message.template, one).variables:
                return one
        except PromptError:
            continue
    return None


# ---------------------------------------------------------------- prompts as this package saves them


def save_prompts(prompts: PromptSet, folder: str | Path, before: PromptSet = PromptSet(())) -> tuple[Path, ...]:  # noqa: B008 - frozen
    """Write one readable JSON file a prompt; long templates are lists of lines, so that diffs read well.

    Args:
        prompts: The prompts.
        folder: Where the files go.
        before: The prompts that these replace: `load_prompts` writes them over those texts only.

    Returns:
        The files, in the order of the prompts.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    replaced = {prompt.name: prompt.digest for prompt in before}
    for prompt in prompts:
        stem = re.sub(r"[^\w.-]+", "-", prompt.name).strip("-.") or "prompt"
        path, n = folder / f"{stem}.json", 1
        while path in paths:
            n += 1
            path = folder / f"{stem}-{n}.json"
        data = {
            "promptopt": VERSION,
            "name": prompt.name,
            "kind": prompt.kind,
            "variables": list(prompt.variables),
            "partials": list(prompt.partials),
            "source": prompt.source,
            **({"replaces": replaced[prompt.name]} if prompt.name in replaced else {}),
            "messages": list(map(_saved, prompt.messages)),
        }
        replace_file(path, _json(data))
        paths.append(path)
    return tuple(paths)


def read_prompts(folder: str | Path) -> PromptSet:
    """The prompts that `save_prompts` wrote to a folder, in order of their names.

    Raises:
        PromptError: There is none, or a file is damaged.
    """
    folder = Path(folder)
    found = []
    for path in sorted(folder.glob("*.json")):
        if _is_saved(path):
            found.append(from_saved(parsed(path), str(path)))
    if not found:
        msg = "the folder holds no saved prompts"
        raise PromptError(msg, where=str(folder), mend="result.save(folder) writes them.")
    names = [prompt.name for prompt in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"two files hold a prompt named {twice[0]!r}"
        raise PromptError(msg, where=str(folder))
    return PromptSet(tuple(sorted(found, key=lambda p: p.name)))


def _saved(message: Message) -> dict[str, Any]:
    lines = message.template.splitlines(keepends=True)
    return {
        "role": message.role,
        "template_format": message.template_format,
        **({} if message.editable else {"frozen": True}),
        "template": lines if len(lines) > 1 else message.template,
    }


def _json(data: Any) -> bytes:
    text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates exist in JSON escapes only
        return (json.dumps(data, indent=2) + "\n").encode("ascii")


def _is_saved(path: Path) -> bool:
    data = parsed(path)
    return isinstance(data, Mapping) and "promptopt" in data
