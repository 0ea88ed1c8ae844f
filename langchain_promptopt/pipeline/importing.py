"""`promptopt import FILE`: settings, examples and prompt out of the files of other tools.

Read are promptim's config.json, OpenAI's chat and evals JSONL, and promptfoo's YAML. What a file says and
has no place here is named, so that nothing is lost without a word. No code of the file is run.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from langchain_promptopt._collections import pick
from langchain_promptopt._files.rewrite import read_text
from langchain_promptopt.errors import DataError, PromptError
from langchain_promptopt.evaluators._assertions import is_assertion
from langchain_promptopt.pipeline.initial import guess_columns

_FORMATS = "promptim's config.json, OpenAI's chat or evals JSONL, or promptfoo's YAML"


@dataclass
class Imported:
    """What a file becomes: settings, the files beside them, and what could not be taken."""

    tool: str
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Section -> key -> value."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)
    """The prompt, where the file holds it."""
    template_format: str = "f-string"
    left: list[str] = field(default_factory=list)
    """What was not taken, and what to do about it."""

    def set(self, key: str, value: Any) -> None:
        """Set a dotted key, unless there is nothing to set."""
        if value not in (None, "", [], {}):
            section, _, name = key.partition(".")
            self.values.setdefault(section, {})[name] = value

    def files(self, stem: str) -> dict[str, str]:
        """Names and texts of the files to write beside the settings, which then name them.

        Args:
            stem: How the names begin.
        """
        out = {}
        if self.messages:
            prompt = {"template_format": self.template_format, "messages": self.messages}
            out[f"{stem}-prompt.json"] = json.dumps(prompt, ensure_ascii=False, indent=2) + "\n"
            self.set("task.prompt", f"{stem}-prompt.json")
        if self.examples:
            lines = [json.dumps(example, ensure_ascii=False) for example in self.examples]
            out[f"{stem}-examples.jsonl"] = "\n".join(lines) + "\n"
            self.set("data.source", f"{stem}-examples.jsonl")
        return out


def read_foreign(path: Path) -> Imported:
    """What the file of another tool says, in our terms.

    Raises:
        DataError: It is none of the known formats, or it cannot be read.
    """
    try:
        text = read_text(path)
    except PromptError as error:
        raise DataError(str(error)) from error
    try:
        return _read(text, path)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        msg = f"the file is not in the form that its tool writes: {type(error).__name__}: {error}"
        raise DataError(msg, where=str(path), mend=f"Give {_FORMATS}.") from error


def _read(text: str, path: Path) -> Imported:
    suffix = path.suffix.lower()
    if suffix in {".yaml", ".yml"}:
        return _promptfoo(_yaml(text, path), path)
    if suffix in {".jsonl", ".ndjson"}:
        return _openai([_object(line, path, n) for n, line in enumerate(text.splitlines(), 1) if line.strip()], path)
    data = _object(text, path, 1) if suffix == ".json" else {}
    if "initial_prompt" in data:
        return _promptim(data, path)
    if "prompts" in data and "providers" in data:
        return _promptfoo(data, path)
    if isinstance(data.get("task"), str):
        msg = "this config.json names a task object in Python, and no code is run here"
        mend = "Write its dataset, prompt and evaluators into promptopt.toml; `promptopt init` begins it."
        raise DataError(msg, where=str(path), mend=mend)
    msg = "the format of this file is not known"
    raise DataError(msg, where=str(path), mend=f"Give {_FORMATS}; for tables, `promptopt init --data` reads them.")


def _object(text: str, path: Path, line: int) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        msg = f"this is not JSON: {error}"
        raise DataError(msg, where=f"{path}:{line}") from error
    if not isinstance(found, dict):
        msg = f"an object is expected, not {type(found).__name__}"
        raise DataError(msg, where=f"{path}:{line}", mend=f"Give {_FORMATS}.")
    return found


def _yaml(text: str, path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        msg = f"this is not YAML: {' '.join(str(error).split())}"
        raise DataError(msg, where=str(path)) from error


_FAMILIES = (
    (r"gpt-|o\d|chatgpt", "openai"),
    (r"claude", "anthropic"),
    (r"gemini", "google_genai"),
    (r"mistral|codestral", "mistralai"),
    (r"command", "cohere"),
    (r"deepseek", "deepseek"),
    (r"grok", "xai"),
)


def _with_provider(name: str) -> str:
    """A model's name with the provider that its family belongs to; as it is where that is not known.

    >>> _with_provider("claude-sonnet-4-5"), _with_provider("openai:gpt-4o"), _with_provider("my-model")
    ('anthropic:claude-sonnet-4-5', 'openai:gpt-4o', 'my-model')
    """
    if ":" in name:
        return name
    for family, provider in _FAMILIES:
        if re.match(family, name):
            return f"{provider}:{name}"
    return name


# promptim


def _promptim(data: Mapping[str, Any], path: Path) -> Imported:
    found = Imported("promptim")
    found.set("data.source", data.get("dataset"))
    _promptim_prompt(found, data.get("initial_prompt") or {})
    found.set("evaluate.evaluators", _promptim_evaluators(found, data.get("evaluators"), path))
    keys = list(data.get("evaluator_descriptions") or {})
    if len(keys) == 1:
        found.set("gate.primary", keys[0])
    elif keys:
        found.left.append(f"evaluator_descriptions: {', '.join(keys)}. Name the deciding one: [gate] primary.")
    optimizer = (data.get("optimizer") or {}).get("model") or {}
    if optimizer.get("model"):
        found.set("optimize.model", _with_provider(optimizer["model"]))
    found.set("optimize.max_reply_tokens", optimizer.get("max_tokens") or optimizer.get("max_tokens_to_sample"))
    found.set("optimize.temperature", optimizer.get("temperature"))
    if data.get("system"):
        found.left.append(f'system = {data["system"]!r}. Name the chain that it runs: [task] chain = "module:name".')
    known = {"name", "description", "dataset", "initial_prompt", "evaluators", "evaluator_descriptions", "optimizer"}
    out = []
    for key, value in data.items():
        if key not in {*known, "system", "$schema"} and value:
            out.append(key)
    rest = sorted(out)
    found.left += [f"{key}: there is no such setting here." for key in rest]
    return found


def _promptim_prompt(found: Imported, prompt: Mapping[str, Any]) -> None:
    model = prompt.get("model_config") or {}
    if prompt.get("identifier"):
        name = str(prompt["identifier"])
        found.set("task.prompt", name if "/" in name else f"-/{name}")
    elif prompt.get("prompt_str"):
        found.messages = [{"role": "user", "content": str(prompt["prompt_str"])}]
    if model.get("model"):
        found.set("task.model", _with_provider(model["model"]))
    else:
        found.left.append("the model of the prompt, which promptim reads from LangSmith. Write it: [task] model.")
    found.set("task.temperature", model.get("temperature"))
    if prompt.get("upload_to"):
        push = f"[output] push = {prompt['upload_to']!r} commits the new prompt there, after the test."
        found.left.append(f"initial_prompt.upload_to: nothing is pushed unless you ask for it. {push}")
    if prompt.get("which"):
        found.left.append(
            f"initial_prompt.which = {prompt['which']}: all messages may change; [task] freeze keeps some."
        )


def _promptim_evaluators(found: Imported, named: Any, path: Path) -> list[str]:
    """The functions of the list that promptim names, read from the code without running it."""
    file, _, attribute = str(named or "").rpartition(":")
    if not file or not attribute:
        found.left.append("evaluators: none could be found. Write [evaluate] evaluators.")
        return []
    file = file.removeprefix("./")
    try:
        tree = ast.parse(read_text(path.parent / file))
    except (PromptError, SyntaxError):
        found.left.append(f"evaluators = {named!r}: the file could not be read; the name is taken as it is.")
        return [f"{file}:{attribute}"]
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        assigned = {t.id for t in targets if isinstance(t, ast.Name)}
        if attribute in assigned and isinstance(value, ast.List):
            names = []
            for item in value.elts:
                if isinstance(item, ast.Name):
                    names.append(f"{file}:{item.id}")
            if len(names) < len(value.elts):
                found.left.append(f"{len(value.elts) - len(names)} evaluators in {named!r} have no name of their own.")
            return names
    return [f"{file}:{attribute}"]


# OpenAI


def _openai(lines: Sequence[Mapping[str, Any]], path: Path) -> Imported:
    if not lines:
        msg = "the file is empty"
        raise DataError(msg, where=str(path))
    if all("item" in line for line in lines):
        return _openai_items([line["item"] for line in lines])
    if all("messages" in line for line in lines):
        return _chats("OpenAI chat", [_split_chat(line["messages"]) for line in lines], lines)
    if all("input" in line and "ideal" in line for line in lines):
        chats = []
        for line in lines:
            chats.append((*_split_chat(_as_messages(line["input"]))[:2], line["ideal"]))
        return _chats("OpenAI evals", chats, lines)
    msg = "the lines are neither chats (`messages`), nor samples (`input` and `ideal`), nor items (`item`)"
    raise DataError(msg, where=str(path), mend="Use `promptopt init TASK --data FILE` for tables of your own.")


def _openai_items(items: Sequence[Mapping[str, Any]]) -> Imported:
    found = Imported("OpenAI evals items")
    guess = guess_columns(items, ())
    outputs = list(guess.values.get("data.outputs", ()))
    names = dict.fromkeys(chain.from_iterable(items))
    inputs = [name for name in names if name not in outputs]
    for item in items:
        found.examples.append({"inputs": _part(item, inputs), "outputs": _part(item, outputs)})
    found.set("evaluate.evaluators", ["exact_match"])
    found.left.append("the prompt and the model: items do not hold them. Write [task] prompt and [task] model.")
    if outputs:
        found.left.append(f"graders: {outputs[0]!r} is taken as the expected answer, and exact_match compares it.")
    else:
        found.left.append("the expected answer: no column could be found. Move it to `outputs` in the examples.")
    return found


def _part(item: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return pick(item, names)


def _as_messages(given: Any) -> list[Mapping[str, Any]]:
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given)


def _split_chat(messages: Sequence[Mapping[str, Any]]) -> tuple[str | None, str | None, Any]:
    """System text, question and answer; the question is None where there are several turns, or none."""
    system = "\n\n".join(_said(m) for m in messages if m.get("role") in {"system", "developer"}) or None
    rest = [m for m in messages if m.get("role") not in {"system", "developer"}]
    answer = _said(rest.pop()) if rest and rest[-1].get("role") == "assistant" else None
    question = _said(rest[0]) if len(rest) == 1 and rest[0].get("role") == "user" else None
    return system, question, answer


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return str(content or "")


def _chats(
    tool: str, chats: Sequence[tuple[str | None, str | None, Any]], lines: Sequence[Mapping[str, Any]]
) -> Imported:
    """Chats with one system text become a prompt and examples; other system texts and several turns are left out."""
    found = Imported(tool)
    common, _ = Counter(system for system, _, _ in chats).most_common(1)[0]
    lost: Counter[str] = Counter()
    for system, question, answer in chats:
        if question is None:
            lost["have several turns, or no question of the user"] += 1
        elif answer in (None, ""):
            lost["have no expected answer"] += 1
        elif system != common:
            lost["have another system message than most"] += 1
        else:
            found.examples.append({"inputs": {"question": question}, "outputs": {"answer": answer}})
    if common is not None:
        found.messages.append({"role": "system", "content": common.replace("{", "{{").replace("}", "}}")})
    found.messages.append({"role": "user", "content": "{question}"})
    found.left += [f"{n} of {len(chats)} examples, which {why}." for why, n in lost.items()]
    if common is None:
        found.left.append("the instructions: the chats have no system message. Write them into the prompt file.")
    used = {"messages", "input", "ideal"}
    for key in sorted(set[str]().union(*lines) - used):
        found.left.append(f"{key}: it is not part of a prompt or an answer.")
    found.set("evaluate.evaluators", ["exact_match"])
    found.left.append("the model. Write it: [task] model.")
    return found


# promptfoo


def _promptfoo(data: Any, path: Path) -> Imported:
    if not isinstance(data, Mapping) or "prompts" not in data:
        msg = "this YAML file has no `prompts`, as promptfoo's has"
        raise DataError(msg, where=str(path), mend=f"Give {_FORMATS}.")
    found = Imported("promptfoo", template_format="jinja2")
    prompts = data["prompts"] if isinstance(data["prompts"], list) else [data["prompts"]]
    if prompts:
        _promptfoo_prompt(found, prompts[0], path)
    if len(prompts) > 1:
        found.left.append(f"{len(prompts) - 1} more prompts: the first is taken. `promptopt compare` tests two.")
    providers = data.get("providers") or data.get("targets") or []
    _promptfoo_model(found, providers if isinstance(providers, list) else [providers])
    default = data.get("defaultTest") if isinstance(data.get("defaultTest"), Mapping) else {}
    _promptfoo_tests(found, _tests(found, data.get("tests"), path), default or {})
    known = {"prompts", "providers", "targets", "tests", "defaultTest", "description"}
    found.left += [f"{key}: there is no such setting here." for key in data if key not in known]
    return found


def _promptfoo_prompt(found: Imported, given: Any, path: Path) -> None:
    text = str(given.get("raw") or given.get("id") or "") if isinstance(given, Mapping) else str(given)
    name = text.removeprefix("file://")
    if text.startswith("file://") or (path.parent / name).is_file():
        if Path(name).suffix in {".js", ".ts", ".cjs", ".mjs", ".py"}:
            found.left.append(f"the prompt {name}, which is code. Name your chain: [task] chain.")
            return
        try:
            text = read_text(path.parent / name)
        except PromptError as error:
            found.left.append(f"the prompt: {error}")
            return
    try:
        chat = json.loads(text)
    except ValueError:
        chat = None
    if isinstance(chat, list) and all(isinstance(m, Mapping) and "role" in m for m in chat):
        found.messages = [{"role": str(m["role"]), "content": _said(m)} for m in chat]
    else:
        found.messages = [{"role": "user", "content": text}]


_PROMPTFOO = {
    "openai": "openai",
    "azure": "azure_openai",
    "azureopenai": "azure_openai",
    "anthropic": "anthropic",
    "google": "google_genai",
    "vertex": "google_vertexai",
    "bedrock": "bedrock",
    "ollama": "ollama",
    "mistral": "mistralai",
    "groq": "groq",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "xai": "xai",
}
_KIND = {"chat", "completion", "responses", "messages"}


def _promptfoo_model(found: Imported, providers: Sequence[Any]) -> None:
    first = providers[0] if providers else ""
    name = str(first.get("id", "") if isinstance(first, Mapping) else first)
    config = first.get("config") or {} if isinstance(first, Mapping) else {}
    provider, _, model = name.partition(":")
    kind, _, rest = model.partition(":")
    model = rest if kind in _KIND else model
    if provider in _PROMPTFOO and model:
        found.set("task.model", f"{_PROMPTFOO[provider]}:{model}")
        for theirs, ours in (("temperature", "temperature"), ("max_tokens", "max_tokens"), ("apiBaseUrl", "base_url")):
            found.set(f"task.{ours}", config.get(theirs))
    else:
        found.left.append(f'the provider {name or "(none)"!r}. Write [task] model = "provider:name".')
    if len(providers) > 1:
        found.left.append(f"{len(providers) - 1} more providers: the first is taken.")


def _tests(found: Imported, given: Any, path: Path) -> list[Mapping[str, Any]]:
    """The tests, from a list or from files beside the settings."""
    out: list[Mapping[str, Any]] = []
    for one in given if isinstance(given, list) else [given] if given else []:
        if isinstance(one, Mapping):
            out.append(one)
            continue
        name = str(one).removeprefix("file://")
        file = path.parent / name
        try:
            if file.suffix == ".csv":
                out += list(map(_csv_test, csv.DictReader(read_text(file).splitlines())))
            elif file.suffix in {".yaml", ".yml", ".json"}:
                out += _tests(found, _yaml(read_text(file), file), file)
            else:
                found.left.append(f"tests = {one!r}: only lists, CSV, YAML and JSON files are read.")
        except PromptError as error:
            found.left.append(f"tests: {error}")
    return out


def _csv_test(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of promptfoo's CSV: columns are variables, `__expected` ones are assertions, "equals" by default."""
    asserted = []
    for name, value in row.items():
        if name.startswith("__expected") and value:
            asserted.append(_csv_assertion(value))
    return {"vars": {n: v for n, v in row.items() if not n.startswith("__")}, "assert": asserted}


def _csv_assertion(text: str) -> dict[str, Any]:
    kind, colon, rest = text.partition(":")
    kind = re.sub(r"\(.*\)$", "", kind.strip())
    if colon and re.fullmatch(r"[a-z-]+", kind):
        kind = {"grade": "llm-rubric", "fn": "javascript", "eval": "javascript"}.get(kind, kind)
        return {"type": kind, "value": rest.strip()}
    return {"type": text.strip()} if text.strip().endswith("-json") else {"type": "equals", "value": text}


def _promptfoo_tests(found: Imported, tests: Sequence[Mapping[str, Any]], default: Mapping[str, Any]) -> None:
    other: Counter[str] = Counter()
    bare = schemas = 0
    for test in tests:
        values = {**(default.get("vars") or {}), **(test.get("vars") or {})}
        asserted = [*(default.get("assert") or ()), *(test.get("assert") or ())]
        taken = []
        for given in asserted:
            assertion = _assertion(given, values)
            if assertion is None:
                other[str(given.get("type"))] += 1
            else:
                taken.append(assertion)
                schemas += "value" in given and "value" not in assertion
        if not taken:
            bare += 1
            continue
        example: dict[str, Any] = {"inputs": values, "outputs": {"assert": taken}}
        if test.get("metadata"):
            example["metadata"] = dict(test["metadata"])
        found.examples.append(example)
    if bare:
        found.left.append(f"{bare} of {len(tests)} tests, which have no assertion that can be taken.")
    if schemas:
        found.left.append(f"the schemas of {schemas} JSON assertions: whether the answer is JSON is checked, no more.")
    if other:
        named = ", ".join(f"{kind} ({n})" for kind, n in other.most_common())
        mend = 'Write evaluators for them: [evaluate] evaluators = ["assertions", "module:function"].'
        found.left.append(f"assertions: {named}. {mend} {_RUBRICS if 'llm-rubric' in other else ''}".strip())
    if found.examples:
        found.set("evaluate.evaluators", [_evaluator_of(found.examples)])


_RUBRICS = "A rubric is a judge: openevals' create_llm_as_judge takes its text as prompt."


def _assertion(given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """An assertion as `assertions` reads it, with the test's variables filled in; None where it cannot be taken."""
    kind, value = str(given.get("type")), given.get("value")
    if not is_assertion(kind) or str(value).startswith("file://") or given.get("transform"):
        return None
    found: dict[str, Any] = {"type": kind}
    if value is not None and not kind.endswith("json"):  # a schema
        found["value"] = [_filled(v, values) for v in value] if isinstance(value, list) else _filled(value, values)
        if kind == "regex" or kind == "not-regex":
            try:
                re.compile(str(found["value"]))
            except re.error:
                return None
    if given.get("weight") not in (None, 1):
        found["weight"] = given["weight"]
    return None if "{{" in str(value) and "{{" in str(found.get("value")) else found


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A text with the test's variables in place of `{{name}}`, as promptfoo fills it; a template beyond that stays."""

    def known(match: re.Match[str]) -> str:
        return str(values.get(match[1], match[0]))

    return re.sub(r"\{\{\s*(\w+)\s*\}\}", known, value) if isinstance(value, str) else value


def _evaluator_of(examples: Sequence[dict[str, Any]]) -> str:
    """`exact_match` where each example has one `equals` and nothing else, whose value is then the answer."""
    for example in examples:
        if [a["type"] for a in example["outputs"]["assert"]] != ["equals"]:
            return "assertions"
    for example in examples:
        example["outputs"] = {"answer": example["outputs"]["assert"][0]["value"]}
    return "exact_match"
