"""Which inputs of an example a chain reads, found from its structure without running it.

Checks for leaks and duplicates compare only the inputs that are read, so that a row number does not make a
duplicate a new example. The inputs are followed through sequences, parallel steps, branches and `assign`, until a
prompt, a graph or a function takes names from them. Where they reach code that cannot be followed, all count as read.
Where a run only looks, it is given marked inputs, which are no example's.
"""

from __future__ import annotations

import dis
import inspect
import operator
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_type_hints

from langchain_core.messages import BaseMessage
from langchain_core.prompts.base import BasePromptTemplate
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import RunnableConfigurableAlternatives, RunnableConfigurableFields
from langchain_core.runnables.passthrough import RunnableAssign, RunnablePick

from langchain_promptopt._collections import map_values
from langchain_promptopt._langchain.conversion import chooses_examples, partial_names, read_leaves
from langchain_promptopt.types import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import CodeType


class _UnknownReading(Exception):  # noqa: N818 - never leaves this file
    """The row goes where it cannot be followed."""


@dataclass(frozen=True)
class _Value:
    """The input of a step: the row itself, values made from it, or a mapping of both."""

    row: bool = False
    parts: Mapping[str, _Value] = field(default_factory=dict)
    """Entries that are known by name; with `row`, other names are those of the row."""

    @property
    def holds_row(self) -> bool:
        return self.row or any(part.holds_row for part in self.parts.values())


_ROW = _Value(row=True)
_MADE = _Value()
"""A value that no longer contains the row."""


_BRACED = re.compile(r"\{([A-Za-z_]\w*)\}")


def _meant(template: BasePromptTemplate[Any]) -> set[str]:
    """Names in braces of message objects: LangChain never fills them, but their author meant them to be read."""
    found: set[str] = set()
    for message in getattr(template, "messages", ()):
        if isinstance(message, BaseMessage):
            found.update(_BRACED.findall(str(message.text)))
    return found


def reading_of(task: Any) -> Reading:
    """What a chain, a prompt template or a function reads of each row; `Reading()` where that is unknown."""
    flow = _Flow()
    try:
        if isinstance(task, Runnable):
            if flow.through(task, _ROW).holds_row:
                return Reading()  # the answer shows the row
        elif callable(task):
            flow.function(task, _ROW)
        else:
            return Reading()
    except _UnknownReading:
        return Reading()
    return Reading(tuple(sorted(flow.names)), tuple(sorted(flow.printed))) if flow.names else Reading()


@dataclass
class _Flow:
    """Follows one row and notes the names that are taken from it."""

    names: set[str] = field(default_factory=set)
    printed: set[str] = field(default_factory=set)

    def through(self, step: Any, value: _Value) -> _Value:
        """What `step` makes of `value`."""
        if not value.holds_row:
            return _MADE
        if isinstance(step, BasePromptTemplate):
            return self._template(step, value)
        for kind, follow in _STEPS:
            if isinstance(step, kind):
                return follow(self, step, value)
        if value is _ROW and (names := _graph_inputs(step)):
            self.names |= names
            return _MADE
        raise _UnknownReading

    def function(self, function: Any, value: _Value) -> _Value:
        """What a function of one argument makes of `value`."""
        if isinstance(function, operator.itemgetter):
            items = function.__reduce__()[1]
            return self._take(value, items[0]) if len(items) == 1 else self._made_of(value, items)
        names = names_read(function)
        if names is None:
            raise _UnknownReading
        return self._made_of(value, names)

    def _template(self, template: BasePromptTemplate[Any], value: _Value) -> _Value:
        if chooses_examples(template):  # a selector is given every input
            raise _UnknownReading
        paths, printed = _paths(template)
        made = self._made_of(value, paths)
        if value is _ROW:
            self.printed |= printed
            self.names |= _meant(template)
        return made

    def _take(self, value: _Value, path: Any) -> _Value:
        """The value at a path; noted where it is one of the row's."""
        if not isinstance(path, str):
            raise _UnknownReading
        name = path.partition(".")[0]
        if name in value.parts:
            return value.parts[name]
        if value.row:
            self.names.add(path)
        return _MADE

    def _made_of(self, value: _Value, paths: Iterable[Any]) -> _Value:
        """One value made of what stands at these paths of another one."""
        return self._all_made([self._take(value, path) for path in paths])

    def _all_made(self, values: Iterable[_Value]) -> _Value:
        """One value made of others. A whole row among them is read in full."""
        if any(value.holds_row for value in values):
            raise _UnknownReading
        return _MADE

    def _sequence(self, step: Any, value: _Value) -> _Value:
        for part in step.steps:
            value = self.through(part, value)
        return value

    def _parallel(self, step: Any, value: _Value) -> _Value:
        return _Value(parts={name: self.through(part, value) for name, part in step.steps__.items()})

    def _assign(self, step: Any, value: _Value) -> _Value:
        added = self.through(step.mapper, value)
        return _Value(value.row, {**value.parts, **added.parts})

    def _pick(self, step: Any, value: _Value) -> _Value:
        if isinstance(step.keys, str):
            return self._take(value, step.keys)
        return _Value(parts={key: self._take(value, key) for key in step.keys})

    def _passthrough(self, step: Any, value: _Value) -> _Value:
        for function in (step.func, step.afunc):
            if function is not None:
                self.function(function, value)
        return value

    def _lambda(self, step: Any, value: _Value) -> _Value:
        given = []
        for f in (getattr(step, "func", None), getattr(step, "afunc", None)):
            if f is not None:
                given.append(f)
        return self._either([self.function(f, value) for f in given])

    def _branch(self, step: Any, value: _Value) -> _Value:
        for condition, _ in step.branches:
            self.through(condition, value)
        taken = [branch for _, branch in step.branches]
        return self._through_one((*taken, step.default), value)

    def _alternatives(self, step: Any, value: _Value) -> _Value:
        others = [s for s in step.alternatives.values() if isinstance(s, Runnable)]
        if len(others) < len(step.alternatives):  # made when it is chosen
            raise _UnknownReading
        return self._through_one((step.default, *others), value)

    def _through_one(self, steps: Iterable[Any], value: _Value) -> _Value:
        """What one of these steps makes of the value, whichever is taken."""
        return self._either([self.through(step, value) for step in steps])

    def _either(self, values: list[_Value]) -> _Value:
        """One of several values, whichever it is."""
        return values[0] if all(v == values[0] for v in values) else self._all_made(values)


_STEPS: tuple[tuple[type[Any], Callable[[_Flow, Any, _Value], _Value]], ...] = (
    (RunnableSequence, _Flow._sequence),
    (RunnableParallel, _Flow._parallel),
    (RunnableAssign, _Flow._assign),
    (RunnablePick, _Flow._pick),
    (RunnablePassthrough, _Flow._passthrough),
    (RunnableLambda, _Flow._lambda),
    (RunnableBranch, _Flow._branch),
    (RunnableConfigurableFields, lambda flow, step, value: flow.through(step.default, value)),
    (RunnableConfigurableAlternatives, _Flow._alternatives),
    (RunnableWithFallbacks, lambda flow, step, value: flow._through_one(step.runnables, value)),
    (RunnableBindingBase, lambda flow, step, value: flow.through(step.bound, value)),
)


def _paths(template: BasePromptTemplate[Any]) -> tuple[set[str], set[str]]:
    """The paths a template reads, and those of nested fields that it prints even where they are missing."""
    nested, whole, printed = set[str](), set[str](), set[str]()
    for message in read_leaves(template):
        if message.editable and message.template_format in {"mustache", "jinja2"}:
            nested.update(message.parsed.paths)
            printed.update(message.parsed.printed)
        else:
            whole.update(message.parsed.variables)
    heads = {path.partition(".")[0] for path in nested} - whole
    given = {*template.input_variables, *template.optional_variables, *partial_names(template)}
    bound = partial_names(template)
    return nested | (given - heads), {path for path in printed if path.partition(".")[0] not in bound}


def _graph_inputs(step: Any) -> set[str]:
    """The inputs that a LangGraph graph takes: it leaves out all others."""
    if not type(step).__module__.startswith("langgraph."):
        return set()
    schema = getattr(getattr(step, "builder", None), "input_schema", None)
    try:
        return set(get_type_hints(schema)) if isinstance(schema, type) else set()
    except (NameError, TypeError):
        return set()


_SKIPPED = frozenset({"CACHE", "EXTENDED_ARG", "PRECALL", "NOP", "PUSH_NULL", "COPY_FREE_VARS", "RESUME"})
_HANDS_ON = frozenset({"RETURN_VALUE", "STORE_FAST", "JUMP_FORWARD"})
"""What may follow a value that is returned as it is."""


def names_read(function: Any, parameter: str | None = None) -> frozenset[str] | None:
    """The names a function takes from a mapping it is given, or None where it uses it in any other way.

    Args:
        function: The function; methods too.
        parameter: Which parameter the mapping is; None is the first.
    """
    called = inspect.getattr_static(type(function), "__call__", None)
    if inspect.isfunction(called):  # an object of a class with `__call__`
        function = called.__get__(function)
    plain = inspect.unwrap(getattr(function, "__func__", function))
    if not inspect.isfunction(plain):
        return None
    code = plain.__code__
    first = 1 if inspect.ismethod(function) else 0
    if code.co_argcount <= first and parameter is None:
        return None
    name = parameter or code.co_varnames[first]
    if name in code.co_cellvars or _may_return_a_runnable(plain, code):
        return None
    return _taken(code, name)


def _taken(code: CodeType, name: str) -> frozenset[str] | None:
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SKIPPED]
    found = set[str]()
    for at, step in enumerate(steps):
        if not step.opname.endswith(("_FAST", "_FAST_BORROW", "_FAST_CHECK")) and not _names(step.argval, name):
            continue
        if isinstance(step.argval, tuple) and name in step.argval:
            return None  # two variables at once: it goes on as a whole
        if step.argval != name:
            continue
        key = _key_taken(steps, at)
        if key is None:
            return None
        found.add(key)
    return frozenset(found)


def _names(argument: object, name: str) -> bool:
    return isinstance(argument, tuple) and name in argument


def _key_taken(steps: list[dis.Instruction], at: int) -> str | None:
    """The name in `row["name"]`, `row.get("name")` or `"name" in row`, or the path in `row["name"]["field"]`.

    Args:
        steps: The code.
        at: Where the row is loaded.
    """
    after = steps[at + 1 : at + 3]
    if not steps[at].opname.startswith("LOAD_FAST") or not after:
        return None
    if after[0].opname == "CONTAINS_OP":
        key = steps[at - 1].argval if at else None
        return key if isinstance(key, str) else None
    if len(after) < 2:
        return None
    if after[0].opname == "LOAD_CONST":
        return ".".join(_fields(steps[at + 1 :])) or None
    if after[0].opname in {"LOAD_METHOD", "LOAD_ATTR"} and after[0].argval == "get":
        return after[1].argval if after[1].opname == "LOAD_CONST" and isinstance(after[1].argval, str) else None
    return None


def _fields(steps: list[dis.Instruction]) -> list[str]:
    """The constant keys that are taken one after the other, from the start of `steps`."""
    found: list[str] = []
    for key, take in zip(steps[::2], steps[1::2], strict=False):
        takes = take.opname == "BINARY_SUBSCR" or (take.opname == "BINARY_OP" and take.argrepr == "[]")
        plain = isinstance(key.argval, str) and (not found or "." not in key.argval + found[0])
        if key.opname != "LOAD_CONST" or not takes or not plain:
            return found
        found.append(key.argval)
    return found


def _may_return_a_runnable(function: Any, code: CodeType) -> bool:
    """LangChain calls a Runnable that a function returns, with the whole row."""
    held = inspect.getclosurevars(function)
    known = {**held.globals, **held.nonlocals}
    if any(map(_holds_runnables, known.values())):
        return True
    steps = []
    for step in dis.get_instructions(code):
        if step.opname not in _SKIPPED:
            steps.append(step)
    for step, after in pairwise(steps):
        value = known.get(step.argval) if isinstance(step.argval, str) else None
        loads = isinstance(value, Runnable) and step.opname.startswith(("LOAD_GLOBAL", "LOAD_DEREF"))
        if loads and after.opname in _HANDS_ON:
            return True
    return False


def _holds_runnables(value: object) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(isinstance(part, Runnable) for part in inside)


# Inputs that no example has, for runs that only look.


def new_mark() -> str:
    """What stands in no example."""
    return f" [{uuid.uuid4().hex[:6]}]"


def marked_rows(rows: Sequence[Mapping[str, Any]], mark: str, *, words: bool = True) -> list[dict[str, Any]]:
    """Inputs with a mark at the end of their texts: what a cache of the program keeps of them answers no example.

    Args:
        rows: Inputs.
        mark: What no example holds.
        words: Whether words alone are marked, too, where each row has another one. The program may look them up.
    """
    found: list[dict[str, Any]] = []
    for row in rows:
        made = {}
        for name, value in row.items():
            made[name] = _marked(value, mark, every=words and _differs(name, rows))
        found.append(made)
    return found


def _differs(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each row has another value under a name."""
    return len({repr(row.get(name)) for row in rows}) == len(rows)


def _marked(value: Any, mark: str, *, every: bool = False) -> Any:
    if isinstance(value, str):
        tells = len(value) >= _TELLING and " " in value.strip()
        return value + mark if tells or (every and value) else value
    if isinstance(value, Mapping):
        return map_values(partial(_marked, mark=mark), value)
    if isinstance(value, list | tuple):
        return [_marked(inner, mark) for inner in value]
    if isinstance(value, BaseMessage):
        return value.model_copy(update={"content": _marked(value.content, mark, every=every)})
    return value


_TELLING = 8
"""Characters from which on a text with a blank in it is marked in any case."""
