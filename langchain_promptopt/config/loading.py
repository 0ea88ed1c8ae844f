"""Reading settings: the file, then `PROMPTOPT_*` variables, then flags; each stronger than the one before. And writing.

`PROMPTOPT_<SECTION>__<KEY>` sets `section.key` (`PROMPTOPT_OPTIMIZE__SEED=3`, `PROMPTOPT_BUDGET__USD=5`);
`PROMPTOPT_PRICES` and `PROMPTOPT_LIMITS` set those tables whole; `PROMPTOPT_RUNS_DIR` is short for
`output.runs_dir`. Lists and tables are written as in TOML. An empty variable counts as not set, because
pipelines pass empty strings for inputs that were not given. An error names file, line, key, value, what was
expected and the nearest key.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from langchain_promptopt._collections import pick
from langchain_promptopt._text.words import items_of_list
from langchain_promptopt.config.schema import Config, split_part
from langchain_promptopt.errors import ConfigError, require

Key: TypeAlias = tuple[str, ...]

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text in quotes",
    "tuple": "a list",
    "too": "a list of two numbers",
    "dict": "a table",
    "model": "a table",
}
_SHOWN = 80
"""Characters of a wrong value that a message shows."""


@dataclass
class Origins:
    """Where each setting came from: the file with its line, a variable, or a flag."""

    file: str
    text: str
    outside: dict[Key, str] = field(default_factory=dict)

    def of(self, key: Key) -> str:
        """The place to look for `key`."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.outside:
                return self.outside[key[:length]]
        line = _line_of(self.text, key)
        return f"{self.file}:{line}" if line else self.file


def _line_of(text: str, key: Key) -> int | None:
    """The line that sets `key`, found the way people write TOML: a section header, then the name."""
    section: Key = ()
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        here: Key = ()
        if header := re.match(r"\s*\[\[?([^\]]+)\]", line):
            section = here = _parts(header[1])
        elif name := re.match(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""", line):
            here = (*section, *_parts(name[1]))
        if here and key[: len(here)] == here and (best is None or len(here) > best[0]):
            best = len(here), number
    return best[1] if best else None


def _parts(dotted: str) -> Key:
    found = []
    for a, b, c in re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*\.?""", dotted):
        found.append(a or b or c)
    return tuple(found)


def config_error(
    error: ValidationError, data: Mapping[str, Any], origins: Origins, model: type[BaseModel]
) -> ConfigError:
    """One ConfigError for everything pydantic found.

    Args:
        error: What pydantic raised.
        data: The settings as they were read.
        origins: Where each of them came from.
        model: The model they were checked by; its keys are proposed for unknown ones.
    """
    found: dict[Key, tuple[str, str]] = {}
    for item in error.errors(include_url=False):
        if isinstance(item["input"], Mapping) and item["type"] == "literal_error":
            continue  # a table where a word may stand, too: what is wrong in it is told of its keys
        key = _known_part(item["loc"], data)
        found.setdefault(key, _described(key, item, model))
    (first, (what, mend)), *rest = found.items()
    more = "".join(f"\n  also: {said} ({origins.of(key)}). {hint}".rstrip() for key, (said, hint) in rest)
    return ConfigError(what, where=origins.of(first), mend=mend + more, keys=[".".join(key) for key in found])


def _known_part(loc: tuple[int | str, ...], data: Any) -> Key:
    """The part of pydantic's location that a user wrote; the rest are names of union members."""
    out: list[str] = []
    for part in loc:
        if isinstance(data, Mapping) and (part in data or not out):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif isinstance(data, Mapping) and part == loc[-1] and not str(part).startswith("literal["):
            data = None
        elif isinstance(data, Mapping):
            continue
        else:
            break
        out.append(str(part))
    return tuple(out)


def _described(key: Key, item: Any, model: type[BaseModel]) -> tuple[str, str]:
    name = ".".join(key)
    if item["type"] == "extra_forbidden":
        return f"unknown key {name!r}", near_keys(key, model)
    if item["loc"][-1] == "[key]":
        return f"unknown key {name!r}", f"Known here: {_expected(item)}."
    if item["type"] == "missing":
        return f"{name} is missing", "Add it."
    shown = repr(item["input"])
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
    return f"{name} is {shown}, expected {_expected(item)}", ""


def _expected(item: Any) -> str:
    context = item.get("ctx", {})
    bounds = {"greater_than": ("more than", "gt"), "greater_than_equal": ("at least", "ge")}
    bounds |= {"less_than": ("less than", "lt"), "less_than_equal": ("at most", "le")}
    if item["type"] in bounds:
        words, limit = bounds[item["type"]]
        return f"{words} {context[limit]:g}"
    if item["type"] == "literal_error":
        return str(context["expected"])
    return _EXPECTED.get(item["type"].split("_")[0], str(item["msg"]))


def near_keys(key: Key, model: type[BaseModel]) -> str:
    """A sentence with the key that was probably meant, and what there is where nothing is near.

    A right name in the wrong section is found first.
    """
    sections = _sections(model)
    options = sections.get(key[0], ()) if len(key) > 1 else tuple(sections)
    dotted = set()
    for o in options:
        if len(key) > 1:
            dotted.add(".".join((key[0], o)))
        else:
            dotted.add(o)
    elsewhere = set()
    for section, names in sections.items():
        for name in names:
            if name == key[-1]:
                elsewhere.add(f"{section}.{name}")
    close = [name for name in sorted(dotted) if name.casefold() == ".".join(key).casefold()]
    close = close or difflib.get_close_matches(".".join(key), sorted(dotted), n=1, cutoff=0.75) or sorted(elsewhere)[:1]
    close = close or difflib.get_close_matches(".".join(key), sorted(dotted or sections), n=1, cutoff=0.0)
    return f"Did you mean {close[0]!r}? Known here: {', '.join(options or sections)}."


def _sections(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            found[name] = tuple(info.annotation.model_fields)
        else:
            found[name] = ()
    return found


CONFIG_NAME = "promptopt.toml"
_PREFIX = "PROMPTOPT_"
_SHORT = {"PROMPTOPT_RUNS_DIR": ("output", "runs_dir")}
_OUTPUT_PATHS = {("output", name) for name in ("prompts", "runs_dir", "summary", "junit", "trace")} | {
    ("optimize", "cache")
}
_RIVALS: dict[Key, Key] = {("task", "chain"): ("task", "prompt"), ("task", "prompt"): ("task", "chain")}
"""A target given outside the file takes the place of the file's."""
_INPUT_PATHS = {("task", "prompt"), ("data", "source")}
_TELLING = ("summary", "junit", "show_rows")
"""Keys of [output] that say where a failure is written."""


def load_config(
    path: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    without_file: bool = False,
) -> Config:
    """The settings of a run.

    Args:
        path: The file; None takes `promptopt.toml` of the working directory where there is one.
        env: Environment variables; None for none.
        overrides: Dotted key -> value; None values are flags that were not given.
        without_file: Leave the `promptopt.toml` of the working directory unread.

    Raises:
        ConfigError: Something is unknown or of the wrong kind; the message has file, line and key.
    """
    file, text = (None, "") if without_file and path is None else _read(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"not valid TOML: {error}"
        raise ConfigError(
            msg, where=str(file), mend="Texts need quotes; see `promptopt init` for an example."
        ) from error
    origins = Origins(str(file) if file else "", text)
    if data and not any(difflib.get_close_matches(key, Config.model_fields, n=1) for key in data):
        msg = f"the file has no section of these settings ({', '.join(Config.model_fields)}); it has {', '.join(data)}"
        raise ConfigError(msg, where=str(file), mend="Prompts are read from text, YAML or JSON files.")
    _add_environment(data, env or {}, origins)
    _add_overrides(data, overrides or {}, origins)
    config = _validated(data, origins, root=file.parent if file else Path.cwd(), file=file)
    config._flags = tuple(key for key, value in (overrides or {}).items() if value is not None and value != ())
    return config


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """`config` with these dotted keys set, as flags would set them."""
    data = config.model_dump(mode="json", exclude_unset=True)
    origins = Origins("the run's own settings", "")
    for dotted, value in values.items():
        section, _, name = dotted.partition(".")
        _put(data, (section, name), value, origins, "the flags the run was started with")
    return _validated(data, origins, root=config.root, file=config.file)


def config_from_dict(
    config: Mapping[str, Any], *, root: str | Path | None = None, env: Mapping[str, str] | None = None
) -> Config:
    """The settings in a plain mapping, for pipelines.

    Args:
        config: Shaped like the file.
        root: Where relative paths start; None is the working directory.
        env: Environment variables, which are stronger than `config`; None for none.

    Raises:
        ConfigError: Something is unknown or of the wrong kind.

    >>> config_from_dict({"optimize": {"seed": 7}}).optimize.seed
    7
    """
    require(
        "config", config, Mapping, 'run_step({"task": {"prompt": "prompt.md"}, "data": {"source": "rows.jsonl"}, ...})'
    )
    data = json.loads(json.dumps(config, default=str))
    origins = Origins("the config given", "")
    _add_environment(data, env or {}, origins)
    return _validated(data, origins, root=Path(root) if root is not None else Path.cwd(), file=None)


def config_for_failures(
    given: Mapping[str, Any] | str | Path | None,
    *,
    root: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """What settings that cannot be used still say about where to write a failure; never raises ConfigError.

    Args:
        given: The mapping, or the file as for `load_config`.
        root: Where relative paths start, for a mapping.
        env: As for `load_config`.
        overrides: As for `load_config`.
    """
    try:
        file, text = _read(given) if given is None or isinstance(given, str | Path) else (None, "")
        data = given if isinstance(given, Mapping) else tomllib.loads(text)
    except (ConfigError, tomllib.TOMLDecodeError):
        file, data = None, {}
    section = data.get("output")
    kept = pick(section, _TELLING) if isinstance(section, Mapping) else {}
    variables = {f"{_PREFIX}OUTPUT__{name.upper()}" for name in _TELLING}
    told: dict[str, Any] = {"output": kept}
    try:
        _add_environment(told, {k: v for k, v in (env or {}).items() if k in variables}, Origins("", ""))
        _add_overrides(told, {k: v for k, v in (overrides or {}).items() if k[7:] in _TELLING}, Origins("", ""))
        return _validated(told, Origins("", ""), root=file.parent if file else Path(root or "."), file=file)
    except (ConfigError, TypeError, ValueError):
        return Config()


def _read(path: str | Path | None) -> tuple[Path | None, str]:
    file = Path(CONFIG_NAME) if path is None else Path(path)
    if path is None and not file.is_file():
        return None, ""
    if file.is_dir():
        file = file / CONFIG_NAME
    try:
        return file.resolve(), file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the config file cannot be read: {error}"
        raise ConfigError(msg, where=str(file), mend="`promptopt init` writes one.") from error


def _add_environment(data: dict[str, Any], env: Mapping[str, str], origins: Origins) -> None:
    for name, text in sorted(env.items()):
        key = _variable_key(name)
        if key is not None and text.strip():
            _put(data, key, _absolute(key, _from_text(key, text)), origins, f"environment variable {name}")


def _variable_key(name: str) -> Key | None:
    if name in _SHORT:
        return _SHORT[name]
    if not name.startswith(_PREFIX):
        return None
    section, separator, rest = name[len(_PREFIX) :].lower().partition("__")
    if not separator and _field_annotation((section, "")) is not None:
        return section, ""
    if not separator:
        _refuse_single_underscore(name, section)
        return None  # another program's variable with our prefix
    key = (section, rest)
    if _field_annotation(key) is None:
        msg = f"{name} sets no known key"
        raise ConfigError(msg, where="environment", mend=near_keys(key, Config))
    return key


def _refuse_single_underscore(name: str, rest: str) -> None:
    """PROMPTOPT_OPTIMIZE_SEED would be ignored without a word; say how it is written."""
    for section in Config.model_fields:
        known = (section, rest.removeprefix(section + "_"))
        if _field_annotation(known) is not None:
            msg = f"{name} sets no known key"
            mend = f"Two underscores stand between section and key: {_PREFIX}{'__'.join(known).upper()}."
            raise ConfigError(msg, where="environment", mend=mend)


def _add_overrides(data: dict[str, Any], overrides: Mapping[str, Any], origins: Origins) -> None:
    for dotted, value in overrides.items():
        if value is None or value == ():
            continue
        section, _, name = dotted.partition(".")
        key = (section, name)
        if _field_annotation(key) is None:
            msg = f"unknown key {dotted!r}"
            raise ConfigError(msg, where="flags", mend=near_keys(key, Config))
        plain = _from_text(key, value) if isinstance(value, str) else value
        _put(data, key, _absolute(key, plain), origins, f"the flag for {dotted}")


def _field_annotation(key: Key) -> Any:
    """What a key holds; None where there is no such key. `("prices", "")` is a section that is one table."""
    section = Config.model_fields.get(key[0])
    model = section.annotation if section else None
    if section is not None and model is not None and get_origin(model) is dict:
        return None if key[1] else TypeAdapter(model)
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or key[1] not in model.model_fields:
        return None
    return TypeAdapter(model.model_fields[key[1]].rebuild_annotation())


def _from_text(key: Key, text: str) -> Any:
    """A text from outside as the value the key wants; left as it is where it fits nothing."""
    adapter = _field_annotation(key)
    as_toml, as_is = (lambda: tomllib.loads(f"v = {text}")["v"]), (lambda: text)
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    for read in (as_toml, as_is) if quoted else (as_is, as_toml, lambda: _listed(text)):
        try:
            return adapter.dump_python(adapter.validate_python(read()), mode="json")
        except (ValidationError, tomllib.TOMLDecodeError):
            continue
    return _number(text)


def _number(text: str) -> Any:
    """A text that is a number as one, so that an error about its size says so; other texts as they are."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def _listed(text: str) -> list[str]:
    return items_of_list(text)


def _absolute(key: Key, value: Any) -> Any:
    """Paths given outside the file start from the working directory, as every shell user expects."""
    if not isinstance(value, str):
        return value
    if key in _OUTPUT_PATHS or (key in _INPUT_PATHS and Path(value).exists()):
        return str(Path.cwd() / Path(value).expanduser())
    if key == ("task", "prompt") and (found := split_part(value, Path.cwd())) is not None:
        return f"{found[0]}#{found[1]}"
    return value


def _put(data: dict[str, Any], key: Key, value: Any, origins: Origins, origin: str) -> None:
    if not key[1]:
        data[key[0]] = value
        origins.outside[key] = origin
        return
    section = data.setdefault(key[0], {})
    if isinstance(section, dict):  # else the validation names the section
        section.pop(_RIVALS.get(key, ("", ""))[1], None)
        section[key[1]] = value
        origins.outside[key] = origin


def _validated(data: dict[str, Any], origins: Origins, *, root: Path, file: Path | None) -> Config:
    try:
        # Through JSON, so that strict types hold while lists may become tuples and TOML dates become texts.
        config = Config.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        raise config_error(error, data, origins, Config) from error
    _refuse_blank(data, origins)
    _check_combinations(config, origins)
    config._root, config._file = root.resolve(), file
    return config


def _refuse_blank(data: Mapping[str, Any], origins: Origins) -> None:
    """A setting without a text, which would be left out without a word."""
    for section, held in data.items():
        for name, value in held.items() if isinstance(held, Mapping) else ():
            texts = value if isinstance(value, list) else [value]
            if any(isinstance(text, str) and not text.strip() for text in texts):
                msg = f"{section}.{name} is {value!r}, expected a text with words"
                raise ConfigError(msg, where=origins.of((section, name)), mend="Leave the key out, or write its value.")


def _check_combinations(config: Config, origins: Origins) -> None:
    task = config.task
    if task.chain is not None and task.prompt is not None:
        msg = "task.chain and task.prompt are both set"
        raise ConfigError(
            msg, where=origins.of(("task", "prompt")), mend="Keep one: a chain in code, or a prompt with a model."
        )
    _refuse_idle(config, origins)
    if task.chain is not None and ":" not in task.chain:
        msg = f"task.chain is {task.chain!r}, expected module:name"
        raise ConfigError(msg, where=origins.of(("task", "chain")), mend='For example chain = "my_app.chain:chain".')
    if config.gate.primary is not None and config.evaluate.weights:
        msg = "gate.primary and evaluate.weights are both set"
        raise ConfigError(
            msg, where=origins.of(("evaluate", "weights")), mend="Name one deciding metric, or give weights; not both."
        )
    if config.output.tag is not None and config.output.push is None:
        msg = "output.tag is set without output.push"
        raise ConfigError(msg, where=origins.of(("output", "tag")), mend='Add push = "owner/name", or remove tag.')


def _refuse_idle(config: Config, origins: Origins) -> None:
    """Settings of a model that is not named here would be ignored without a word."""
    for name, section in (("task", config.task), ("optimize", config.optimize)):
        if section.model is not None:
            continue
        for key in ("temperature", "max_tokens" if name == "task" else "max_reply_tokens", "base_url"):
            if getattr(section, key) is not None:
                msg = f"{name}.{key} is set, and {name}.model is not"
                mend = f"Name the model in {name}.model; a chain of your own sets it in its code."
                raise ConfigError(msg, where=origins.of((name, key)), mend=mend)


def toml_text(values: Mapping[str, Mapping[str, Any]], remarks: Mapping[str, str] | None = None) -> str:
    """A commented config file with `values` set, section -> key -> value.

    Args:
        values: What is set.
        remarks: Dotted key -> what else the comment says.

    >>> toml_text({"optimize": {"seed": 3}}).splitlines()[2:]
    ['[optimize]', 'seed = 3                                        # of all randomness']
    """
    out = ["# Settings of promptopt. `promptopt check` tries them without spending anything.", ""]
    for section, keys in values.items():
        known = getattr(Config.model_fields[section].annotation, "model_fields", {})
        out.append(f"[{section}]")
        for key, value in keys.items():
            line = f"{_key(key)} = {toml_value(value)}"
            said = (known[key].description if key in known else None, (remarks or {}).get(f"{section}.{key}"))
            about = "; ".join(filter(None, said))
            out.append(f"{line:<47} # {about}" if about else line)
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def toml_value(value: Any) -> str:
    r"""One value in TOML.

    >>> toml_value({"ticket": 'the "text"', "n": [1, True]})
    '{ ticket = "the \\"text\\"", n = [1, true] }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(str(k))} = {toml_value(v)}" for k, v in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    return _text(str(value))


def _key(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if plain else _text(name)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's, DEL excepted
