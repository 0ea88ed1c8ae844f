"""From a raw row to an Example, or to a list of what is wrong with it. Nothing is filled in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import chain
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import pick, without
from langchain_promptopt.errors import DataError
from langchain_promptopt.evaluators import ANSWER_NAMES
from langchain_promptopt.types import ABSENT, Example, RowUse, content_hash, is_conversation, value_at
from langchain_promptopt.types.plain_value import is_message, openai_role, tool_calls_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_OWN = ("inputs", "outputs", "metadata", "id", "split", "reference_outputs", "note")


@dataclass(frozen=True)
class Raw:
    """One row as read: its position in its source (from 0), its line (from 1) where there are lines, its split."""

    row: int
    value: Any
    line: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class Columns:
    """Which column is what. Names may be paths into nested rows: `mail.body`, `messages.1.content`, `messages[-1].x`.

    Args:
        inputs: Prompt variable to column. None takes the row's own `inputs`, or all other columns.
        outputs: Reference columns, or reference name to column.
        id: The column with the row's id.
        group: The column that keeps related rows together (a thread, a customer).
        note: The column with a person's remark for the optimizer; rows may carry it as `note` anyway.
        split: The column that says which split a row belongs to; rows may carry it as `split` anyway.
    """

    inputs: Mapping[str, str] | None = None
    outputs: Sequence[str] | Mapping[str, str] | None = None
    id: str | None = None
    group: str | None = None
    note: str | None = None
    split: str | None = None

    @property
    def output_columns(self) -> dict[str, str] | None:
        """Reference name to column."""
        if self.outputs is None:
            return None
        if isinstance(self.outputs, Mapping):
            return dict(self.outputs)
        names = [self.outputs] if isinstance(self.outputs, str) else self.outputs
        return {name.rpartition(".")[2]: name for name in names}

    @property
    def named(self) -> frozenset[str]:
        """The columns that some setting names, by the name they have in the row."""
        paths = [*(self.inputs or {}).values(), *(self.output_columns or {}).values(), self.id, self.group]
        paths += [self.note, self.split]
        found: set[str] = set()
        for path in paths:
            if path is not None:
                found.update((path, _head(path)))
        return frozenset(found)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one row."""

    field: str
    problem: str


@dataclass(frozen=True)
class UsableRow:
    """A usable row, with where it stood and which split it asks for."""

    example: Example
    position: int
    wanted: tuple[str, ...]
    line: int | None = None
    has_id: bool = False


@dataclass
class Reader:
    """Turns raw rows into rows, remembering which columns were guessed so that it can be said."""

    columns: Columns
    variables: Sequence[str] | None = None
    use: RowUse = field(default_factory=RowUse)
    guessed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    spare: dict[str, None] = field(default_factory=dict)
    """Columns that no setting names: only a prompt or an evaluator can make use of them."""
    chats: dict[str, None] = field(default_factory=dict)
    """What was said about rows in the form of a chat."""

    def read(self, raw: Raw) -> tuple[UsableRow | None, list[Problem]]:
        """The row, or None and what is wrong with it."""
        value = _as_mapping(raw.value)
        if value is None:
            return None, [Problem("", f"an example is a mapping, this is a {type(raw.value).__name__}")]
        if isinstance(raw.value, Example):
            example, missing = raw.value, list[Problem]()
            self.spare |= dict.fromkeys(map(str, example.inputs))
        else:
            example, missing = self._example(value)
        problems = list(missing)
        problems += _input_problems(example.inputs, self.variables, self.columns.inputs)
        problems += _nested_problems(example.inputs, self.use.printed)
        if self.use.references or example.outputs:
            problems += _output_problems(example.outputs, value, required=self.columns.output_columns)
        problems = _first_by_field(problems)
        if problems:
            return None, problems
        wanted = (raw.split,) if raw.split is not None else self._wanted_splits(value, example.metadata)
        has_id = bool(example.id)
        if not has_id:
            example = replace(example, id=content_hash(example.inputs))
        return UsableRow(example, raw.row, wanted, raw.line, has_id), []

    def _example(self, value: Mapping[str, Any]) -> tuple[Example, list[Problem]]:
        if self.columns.inputs is None and self.columns.outputs is None and _is_chat(value):
            value = self._from_chat(value)
        shaped = _is_shaped(value)
        inputs, missing_inputs = self._inputs(value, shaped=shaped)
        outputs, missing_outputs = self._outputs(value, shaped=shaped)
        self._note_spare(value, shaped=shaped)
        metadata = _metadata(value, shaped=shaped, used=self._used())
        given = _lookup(value, self.columns.id) if self.columns.id else value.get("id")
        given = metadata.get("id") if is_blank(given) and not self.columns.id else given
        group = _lookup(value, self.columns.group) if self.columns.group else None
        problems = [*missing_inputs, *missing_outputs]
        if self.columns.id and is_blank(given):
            said = f"column {self.columns.id!r} is missing or empty{_nearest(self.columns.id, value)}"
            problems.append(Problem("id", said))
        if self.columns.group and is_blank(group):
            said = f"column {self.columns.group!r} is missing or empty{_nearest(self.columns.group, value)}"
            problems.append(Problem("group", said))
        note = _lookup(value, self.columns.note) if self.columns.note else value.get("note") if shaped else None
        example = Example(
            "" if is_blank(given) else str(given),
            inputs,
            outputs,
            metadata,
            None if is_blank(group) else str(group),
            None if is_blank(note) else str(note),
            dict(files) if shaped and isinstance(files := value.get("attachments"), Mapping) else {},
        )
        return example, problems

    def _inputs(self, value: Mapping[str, Any], *, shaped: bool) -> tuple[dict[str, Any], list[Problem]]:
        if self.columns.inputs is not None:
            return _mapped(value, self.columns.inputs, "inputs")
        if not shaped:
            return pick(value, self._guess(value)["inputs"]), []
        given = _as_state(value.get("inputs"))
        return (dict(given), []) if isinstance(given, Mapping) else ({}, [Problem("inputs", _no_mapping(given))])

    def _outputs(self, value: Mapping[str, Any], *, shaped: bool) -> tuple[dict[str, Any], list[Problem]]:
        named = self.columns.output_columns
        if named is not None:
            return _mapped(value, named, "outputs")
        if not shaped:
            return pick(value, self._guess(value)["outputs"]), []
        given = _as_state(_reference(value))
        if given is None and not self.use.references:
            return {}, []
        return (dict(given), []) if isinstance(given, Mapping) else ({}, [Problem("outputs", _no_mapping(given))])

    def _wanted_splits(self, value: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[str, ...]:
        """The splits a row names: in the column for it, or as rows usually do."""
        if self.columns.split is None:
            return _wanted_splits(value, metadata)
        given = _lookup(value, self.columns.split)
        return () if is_blank(given) else (str(given).strip(),)

    def _used(self) -> set[str]:
        """Columns that serve as inputs or references."""
        named = [*(self.columns.inputs or {}).values(), *(self.columns.output_columns or {}).values()]
        return {*named, *chain.from_iterable(self.guessed.values())}

    def _guess(self, value: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """Inputs and outputs of flat rows, decided by the first one and used for all."""
        if not self.guessed:
            names = []
            for name in value:
                if name not in {"id", "split", "metadata", self.columns.id}:
                    names.append(str(name))
            outputs = self.columns.output_columns or {}
            found = [n for n in ANSWER_NAMES if n in names] if not outputs else []
            if not outputs and len(found) != 1:
                if self.use.references:
                    msg = f"which columns are inputs and which is the reference? There are {', '.join(names) or 'none'}"
                    mend = 'Name them, e.g. inputs = { ticket = "text" } and outputs = ["label"]'
                    raise DataError(msg, mend=f"{mend}, or with --input ticket=text --output label.")
                found = []
            taken = {*found, *outputs.values(), *map(_head, outputs.values()), self.columns.group}
            taken |= {self.columns.note, self.columns.split}
            inputs = []
            for n in names:
                if n not in taken and (self.variables is None or n in self.variables):
                    inputs.append(n)
            self.guessed = {"inputs": tuple(inputs), "outputs": tuple(found)}
        return self.guessed

    def _note_spare(self, value: Mapping[str, Any], *, shaped: bool) -> None:
        """Remember the columns that no setting names; those beside `inputs` in a row go nowhere."""
        inputs = value.get("inputs") if shaped else None
        names = [*value, *(inputs if isinstance(inputs, Mapping) else ())]
        used = {*_OWN, *self.columns.named, *self.guessed.get("outputs", ())}
        self.spare |= {str(name): None for name in names if name not in used}

    def _from_chat(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """A row in OpenAI's chat form as inputs and outputs: the answer at its end is the reference.

        The messages before it go to a chain that takes messages; a prompt with one variable gets the last question.
        Where the model called tools after the last question, the whole conversation is the reference, and the input
        ends with that question.

        Raises DataError where it is not clear which of the prompt's variables is meant.
        """
        messages = list(value["messages"])
        answer = messages.pop() if openai_role(messages[-1]) == "assistant" else None
        more = {}
        for name, item in value.items():
            if name not in {"messages", *_OWN}:
                more[name] = item
        kept = pick(value, ("id", "split", "metadata", "note"))
        reading = self.use.readings[0]
        outputs = {} if answer is None else {"outputs": {"answer": _said(answer)}}
        asked_at = max((i for i, m in enumerate(messages) if openai_role(m) == "user"), default=-1)
        if reading.paths is None or reading.reads("messages"):
            if answer is not None and asked_at >= 0 and any(map(tool_calls_of, messages[asked_at:])):
                said = "the examples are agents' trajectories: the input is the messages up to the last question"
                self.chats[f"{said}, the reference is the whole conversation"] = None
                whole = {"outputs": {"messages": list(value["messages"])}}
                return {"inputs": {"messages": messages[: asked_at + 1], **more}, **whole, **kept}
            self.chats[
                "the examples are chats: the input is the messages before the last answer, the reference that answer"
            ] = None
            return {"inputs": {"messages": messages, **more}, **outputs, **kept}
        wanted = [path for path in reading.paths if _head(path) not in more]
        asked = _said(messages[asked_at]) if asked_at >= 0 else None
        if len(wanted) != 1 or asked is None:
            msg = f"the examples are chats, and the prompt reads {', '.join(reading.paths)}"
            mend = 'Map them, e.g. inputs = { ticket = "messages.1.content" } and outputs = ["messages.2.content"].'
            raise DataError(msg, mend=mend)
        left = "" if len(messages) == 1 else "; the other messages are not used"
        said = f"the examples are chats: `{wanted[0]}` is the last question, the reference is the answer to it{left}"
        self.chats[said] = None
        return {"inputs": {wanted[0]: asked, **more}, **outputs, **kept}


def is_blank(value: Any) -> bool:
    r"""Whether a value is empty: absent, None, NaN, or text without a visible character. 0 and False are not empty.

    >>> is_blank(float("nan")), is_blank("  \n"), is_blank(0)
    (True, True, False)
    """
    if value is None or value is ABSENT:
        return True
    if isinstance(value, str):
        return not value.strip("\ufeff\u200b\u200c\u200d\u2060 \t\r\n\f\v\u00a0\u3000")
    return isinstance(value, float) and math.isnan(value)


def _as_mapping(value: Any) -> Mapping[str, Any] | None:
    """A row as a mapping; examples (ours, LangSmith's) are read by their attributes."""
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "inputs") and hasattr(value, "outputs"):
        found = {}
        for n in ("id", "inputs", "outputs", "metadata", "attachments"):
            found[n] = getattr(value, n, None)
        return found
    return None


def _no_mapping(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}, not a mapping"


def _as_state(value: Any) -> Any:
    """A list of messages as the state that holds it, which is how chains and evaluators take it."""
    return {"messages": value} if isinstance(value, list) and is_conversation(value) else value


def _is_shaped(value: Mapping[str, Any]) -> bool:
    return any(isinstance(_as_state(value.get(n)), Mapping) for n in ("inputs", "outputs", "reference_outputs"))


def _reference(value: Mapping[str, Any]) -> Any:
    return value["outputs"] if value.get("outputs") is not None else value.get("reference_outputs")


def _lookup(value: Mapping[str, Any], path: str) -> Any:
    """The value at `path`: in the row, else in its inputs, outputs or metadata."""
    inner = [value[n] for n in ("inputs", "outputs", "metadata") if isinstance(value.get(n), Mapping)]
    for place in (value, *inner):
        found = value_at(place, path)
        if found is not ABSENT:
            return found
    return ABSENT


def _head(path: str) -> str:
    """The column a path starts in.

    >>> _head("messages[1].content"), _head("mail.body")
    ('messages', 'mail')
    """
    return path.partition(".")[0].partition("[")[0]


def _mapped(value: Mapping[str, Any], columns: Mapping[str, str], side: str) -> tuple[dict[str, Any], list[Problem]]:
    found = {name: _lookup(value, path) for name, path in columns.items()}
    problems = []
    for name, item in found.items():
        if item is ABSENT:
            problems.append(
                Problem(f"{side}.{name}", f"column {columns[name]!r} is missing{_nearest(columns[name], value)}")
            )
    return {name: item for name, item in found.items() if item is not ABSENT}, problems


def _nearest(column: str, value: Mapping[str, Any]) -> str:
    """The columns there are, and the one that was probably meant."""
    inner = []
    for n in ("inputs", "outputs", "metadata"):
        if isinstance(value.get(n), Mapping):
            inner.append(value[n])
    names = []
    for place in (value, *inner):
        for name in place:
            names.append(str(name))
    close = get_close_matches(column, names, n=1) or get_close_matches(_head(column), names, n=1)
    meant = f"; did you mean {close[0]!r}?" if close and close[0] != _head(column) else ""
    return f"{meant or ';'} there are {', '.join(dict.fromkeys(names))}"


def _is_chat(value: Mapping[str, Any]) -> bool:
    messages = value.get("messages")
    return isinstance(messages, list | tuple) and bool(messages) and all(map(_is_message, messages))


def _is_message(value: Any) -> bool:
    given = isinstance(value, Mapping) and "role" in value and ("content" in value or "tool_calls" in value)
    return given or is_message(value)


def _said(message: Any) -> Any:
    """The text of a message, whose content may be a list of blocks."""
    content = message.get("content") if isinstance(message, Mapping) else message.content
    if not isinstance(content, list):
        return content
    texts = []
    for block in content:
        if isinstance(block, Mapping) and isinstance(block.get("text"), str):
            texts.append(block["text"])
    return "".join(texts) if len(texts) == len(content) else content


def _metadata(value: Mapping[str, Any], *, shaped: bool, used: set[str]) -> dict[str, Any]:
    given = value.get("metadata")
    kept = dict(given) if isinstance(given, Mapping) else {}
    if not shaped:
        kept |= without(value, used, _OWN)
    return kept


def _wanted_splits(value: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The splits a row names: metadata.split, LangSmith's dataset_split (several), or `split` beside inputs."""
    for given in (metadata.get("split"), metadata.get("dataset_split"), value.get("split")):
        if isinstance(given, str) and given.strip():
            return (given.strip(),)
        if isinstance(given, list | tuple) and given:
            return tuple(map(str, given))
    return ()


def _input_problems(
    inputs: Mapping[str, Any], variables: Sequence[str] | None, mapped: Mapping[str, str] | None
) -> list[Problem]:
    needed = list(variables) if variables is not None else list(mapped or ())
    problems = []
    for n in needed:
        if _unusable(inputs.get(n)):
            problems.append(Problem(f"inputs.{n}", "missing or empty"))
    if not inputs and not needed:
        problems.append(Problem("inputs", "empty"))
    elif inputs and all(map(is_blank, inputs.values())) and not problems:
        problems.append(Problem(f"inputs.{next(iter(inputs))}", "every input is empty"))
    return problems + _broken_text(inputs, "inputs")


def _nested_problems(inputs: Mapping[str, Any], printed: Iterable[str]) -> list[Problem]:
    """Fields that a template prints: LangChain prints nothing where they are missing, without a warning."""
    missing = [path for path in printed if _unusable(value_at(inputs, path))]
    found: list[Problem] = []
    for path in missing:
        found.append(Problem(f"inputs.{path}", "missing: the prompt would show nothing there"))
    return found


def _unusable(value: Any) -> bool:
    """An empty text may be meant (no context); nothing at all would be sent as the word None."""
    return value is None or value is ABSENT or (isinstance(value, float) and math.isnan(value))


def _output_problems(
    outputs: Mapping[str, Any], value: Mapping[str, Any], *, required: Mapping[str, str] | None
) -> list[Problem]:
    if not outputs:
        return [Problem("outputs", "missing" if _reference(value) is None else "empty")]
    if required is not None:
        names = [n for n in required if n in outputs]
    elif "answer" in outputs:
        names = ["answer"]
    else:
        names = list(outputs) if all(map(_no_reference, outputs.values())) else []
    found = []
    for n in names:
        if _no_reference(outputs[n]):
            found.append(Problem(f"outputs.{n}", "empty: there is nothing to compare with"))
    return found + _broken_text(outputs, "outputs")


def _no_reference(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return not value or any(map(is_blank, value))
    return is_blank(value)


def _broken_text(values: Mapping[str, Any], side: str) -> list[Problem]:
    """Half of a surrogate pair cannot be sent to any model."""
    found: list[Problem] = []
    for name, value in values.items():
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            found.append(Problem(f"{side}.{name}", "holds half of a surrogate pair (a broken \\u escape)"))
    return found


def _first_by_field(problems: list[Problem]) -> list[Problem]:
    """One problem a field; a missing whole hides its parts."""
    seen: dict[str, Problem] = {}
    for problem in problems:
        whole = problem.field.partition(".")[0]
        if whole not in seen:
            seen.setdefault(problem.field, problem)
    return list(seen.values())
