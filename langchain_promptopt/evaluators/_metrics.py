"""The metrics that evaluators give, by name: read from their code, or learned from the first rows they score."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from langchain_promptopt.evaluators._adapter import EvalResult, score_all
from langchain_promptopt.types import BY_MODEL, Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_promptopt.evaluators._adapter import Evaluator
    from langchain_promptopt.types import Example

_NUMBER_CALLS = frozenset({"float", "int", "bool", "len", "sum", "round", "min", "max", "abs", "any", "all"})


def key_of(evaluator: Any) -> str:
    """The key scores will carry, read without a call.

    An attribute says it, or a feedback key held by the function (openevals) or written in its source
    (agentevals), or the one literal key in its source (as LangSmith does), or its name.
    """
    for attribute in ("key", "evaluation_name"):
        if isinstance(found := getattr(evaluator, attribute, None), str) and found:
            return found
    inner = function_of(evaluator)
    if (held := _held_key(inner)) is not None:
        return held
    keys = getattr(evaluator, "feedback_keys", None) or own_keys(evaluator)[0]
    if len(keys) == 1:
        return str(keys[0])
    name = getattr(inner, "__name__", None) or getattr(evaluator, "_name", None)
    return str(name) if name and name != "<lambda>" else type(evaluator).__name__ if name is None else "lambda"


def own_keys(evaluator: Any) -> tuple[tuple[str, ...], bool]:
    """Literal keys of the results that an evaluator's source makes, and whether it may give others."""
    if isinstance(getattr(evaluator, "key", None), str):
        return (), False
    inner = function_of(evaluator)
    if not inspect.isroutine(inner):
        methods = vars(type(inner))
        inner = methods.get("__call__") or methods.get("evaluate_run")
    if _held_key(inner) is not None:
        return (), False
    tree = _tree(inner)
    if tree is None:
        return (), True
    returned = list(_returned(tree))
    return tuple(dict.fromkeys(_literal_keys(tree))), not all(map(_is_told, returned))


def function_of(evaluator: Any) -> Any:
    """The plain function behind partials, decorators and evaluator objects."""
    seen = evaluator
    while isinstance(seen, functools.partial):
        seen = seen.func
    return inspect.unwrap(seen) if callable(seen) else seen


def _held_key(function: Any) -> str | None:
    """The `feedback_key` that a function holds, as openevals' do, or passes on, as agentevals' do."""
    if held := _held(function, "feedback_key"):
        return held
    if not _passes(function):
        return None
    for node in ast.walk(_tree(function) or ast.Module([], [])):
        if isinstance(node, ast.Call):
            for word in node.keywords:
                if word.arg == "feedback_key":
                    return _text_of(word.value, function)
    return None


def _passes(function: Any) -> bool:
    """Whether the compiled code has a keyword argument of that name: cheaper than reading its source."""
    consts = getattr(getattr(function, "__code__", None), "co_consts", ())
    return any(isinstance(c, tuple) and "feedback_key" in c for c in consts)


def _text_of(value: ast.expr, function: Any) -> str | None:
    """A text as written, or an f-string of texts that the function holds."""
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) else None
    if not isinstance(value, ast.JoinedStr):
        return None
    parts = []
    for part in value.values:
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        found = _held(function, inner.id) if isinstance(inner, ast.Name) else _text_of(inner, function)
        if found is None:
            return None
        parts.append(found)
    return "".join(parts)


def _held(function: Any, name: str) -> str | None:
    """A text in a function's closure."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    if code is None or name not in code.co_freevars:
        return None
    try:
        held = cells[code.co_freevars.index(name)].cell_contents
    except ValueError:  # an empty cell
        return None
    return held if isinstance(held, str) and held else None


def _tree(function: Any) -> ast.AST | None:
    """The function's own definition, where its source can be read alone."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # a lambda in the middle of an expression is no source
        return None
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found.append(node)
    return found[0] if found else None


def _returned(tree: ast.AST) -> Iterator[ast.expr]:
    """What the function returns, functions inside it left out."""
    if isinstance(tree, ast.Lambda):
        yield tree.body
        return
    todo: list[ast.AST] = list(getattr(tree, "body", []))
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(node)


def _literal_keys(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        key = _key_in(node)
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def _key_in(node: ast.AST) -> ast.expr | None:
    """What stands under "key" in a dict or a call such as EvaluationResult(key=...)."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "key":
                return value
    if isinstance(node, ast.Call):
        return next((word.value for word in node.keywords if word.arg == "key"), None)
    return None


def _is_told(value: ast.expr) -> bool:
    """Whether the keys in a returned expression can be read from it: it is a number, or results written out."""
    if isinstance(value, ast.IfExp):
        return _is_told(value.body) and _is_told(value.orelse)
    if isinstance(value, ast.List | ast.Tuple):
        return all(map(_is_told, value.elts))
    if isinstance(value, ast.Constant | ast.Compare | ast.BoolOp | ast.UnaryOp | ast.BinOp):
        return True
    if isinstance(value, ast.Dict):
        return _is_told_dict(value)
    if isinstance(value, ast.Call):
        named = getattr(value.func, "id", "") in _NUMBER_CALLS
        return named or isinstance(_key_in(value), ast.Constant)
    return False


def _is_told_dict(value: ast.Dict) -> bool:
    names = {}
    for k, v in zip(value.keys, value.values, strict=True):
        if isinstance(k, ast.Constant):
            names[k.value] = v
    if len(names) < len(value.keys):  # {**more}
        return False
    if "results" in names:
        return _is_told(names["results"])
    return isinstance(names.get("key"), ast.Constant) or "key" not in names


class Metrics:
    """Names of the metrics of several evaluators, in their order.

    A metric is named by its key; one that a named evaluator gives in a list of results, by "name.key". Either part
    alone names it too where that is unambiguous.
    """

    def __init__(self, evaluators: Sequence[Evaluator]) -> None:
        self._evaluators = {e.key: e for e in evaluators}
        self._keys: dict[str, list[str]] = {e.key: list(told_keys(e)) for e in evaluators}
        self._learned: set[str] = set()
        self.names: tuple[str, ...] = ()
        """All metrics known by now; an evaluator whose metrics are not known yet is listed by its own key."""
        self.deciding: str | None = None
        """The metric that decides where the gate names none: the first of the first evaluator."""
        self.open: tuple[str, ...] = ()
        """Keys of evaluators whose metrics are not known yet."""
        self._tell()

    def _tell(self) -> None:
        """Say what is known by now; each row asks for it, and it changes with the first rows alone."""
        found: list[str] = []
        for key, names in self._keys.items():
            found.extend(names or [key])
        self.names = tuple(found)
        self.deciding = next(iter(found), None)
        self.open = tuple(k for k, e in self._evaluators.items() if e.open and k not in self._learned)

    def learn(self, keys: Mapping[str, Iterable[str]]) -> None:
        """Note the keys that evaluators gave for a row, by evaluator."""
        for evaluator, given in keys.items():
            fresh = tuple(given)
            if evaluator in self._learned and set(fresh) <= set(self._keys[evaluator]):
                continue
            known = self._keys.setdefault(evaluator, [])
            guessed = self._is_open(evaluator) or not set(known) & set(fresh)
            if guessed and evaluator not in self._learned:
                known.clear()
            self._learned.add(evaluator)
            known += [key for key in fresh if key not in known]
            self._tell()

    def observe(self, scores: Iterable[str]) -> None:
        """Note the keys of a row that another process scored: their order shows whose they are."""
        if not self.open:
            return
        known = set(self.names) - set(self.open)
        fresh = [key for key in scores if key not in known]
        waiting = list(self.open)
        for key in fresh:
            named = next((k for k in self._evaluators if key == k or key.startswith(f"{k}.")), None)
            owner = named or (waiting.pop(0) if waiting else next(reversed(self._evaluators)))
            self.learn({owner: [key]})
            waiting = [k for k in waiting if k != owner]

    def _has_given(self, evaluator: str, key: str) -> bool:
        """Whether an evaluator of this name has given this score key."""
        for name, one in self._evaluators.items():
            if evaluator in {name, _name_of(one)} and key in self._keys[name]:
                return True
        return False

    def find(self, name: str) -> str | None:
        """The metric that a gate means by `name`, or None where none is known by it."""
        if name in self.names:
            return name
        if (alone := self._keys.get(name)) is not None:
            return alone[0] if len(alone) == 1 else None
        evaluator, _, own = name.partition(".")
        if own and self._has_given(evaluator, own):
            return own
        ending = [n for n in self.names if n.endswith(f".{name}")]
        own_name = []
        for k, e in self._evaluators.items():
            if e.named and name in e.own_keys and k in self.names:
                own_name.append(k)
        found = {*ending, *own_name}
        return found.pop() if len(found) == 1 else None

    def owner_of(self, metric: str) -> str | None:
        """The key of the evaluator that gives a metric."""
        return next((key for key, names in self._keys.items() if metric in names), None)

    def may_exist(self, name: str) -> bool:
        """Whether `name` is a metric, or may turn out to be one."""
        return self.find(name) is not None or bool(self.open)

    def _is_open(self, evaluator: str) -> bool:
        return evaluator in self._evaluators and self._evaluators[evaluator].open


def _name_of(evaluator: Evaluator) -> str | None:
    return getattr(function_of(evaluator.origin), "__name__", None)


def told_keys(evaluator: Evaluator) -> tuple[str, ...]:
    """The metrics an evaluator's code shows: its own key, unless its results carry others."""
    own = evaluator.own_keys
    if len(own) > 1:
        return tuple(f"{evaluator.key}.{k}" for k in own) if evaluator.named else own
    return own if own and not evaluator.named else (evaluator.key,)


# One prompt for several task models: the metrics of each, and their scores as one.


def learn_models(metrics: Metrics, evaluators: Sequence[Evaluator], models: Iterable[str]) -> None:
    """Note the metrics of single task models, so that the gate may name them before any row is scored."""
    names = tuple(models)
    for e in evaluators if names else ():
        if not e.open:
            keys = told_keys(e)
            metrics.learn({e.key: (*keys, *_keys_of_models(keys, names))})


def _keys_of_models(keys: Iterable[str], names: Sequence[str]) -> list[str]:
    """The metrics of single models: `exact_match@small`."""
    found = []
    for key in keys:
        found += [f"{key}@{name}" for name in names]
    return found


async def score_models(
    evaluators: Sequence[Any], example: Example, answers: Mapping[str, Any], *, over: str, steps: Sequence[Any] = ()
) -> EvalResult:
    """The verdict on the answers of several models as one: the mean or the worst of each metric, and each model's own.

    A metric that one of them has no score of has none in all.

    Args:
        evaluators: Evaluators in the order in which the user gave them.
        example: The example.
        answers: The answer of each model, by its name; a Failure of one counts 0 in all metrics.
        over: "mean" or "worst".
        steps: Runs of the chain's parts, for `run.child_runs`.
    """
    found = await _verdicts(evaluators, example, answers, steps)
    own, comments, metadata, categories = {}, dict[str, str](), {}, dict[str, str]()
    by_key = defaultdict[str, list[float]](list)
    for name, one in found.items():
        for key, value in one.scores.items():
            own[f"{key}@{name}"] = value
            by_key[key].append(value)
        for key, told in one.metadata.items():
            metadata[f"{key}@{name}"] = told
        for key, said in one.comments.items():
            comments[key] = f"{comments[key]}; {name}: {said}" if key in comments else f"{name}: {said}"
        categories |= one.categories
    scores: dict[str, float] = {}
    for key, values in by_key.items():
        if len(values) == len(found):
            scores[key] = min(values) if over == "worst" else fmean(values)
    keys = {}
    for evaluator, given in next(iter(found.values())).keys.items():
        keys[evaluator] = (*given, *_keys_of_models(given, list(found)))
    return EvalResult(scores | own, comments, metadata, keys, categories)


async def _verdicts(
    evaluators: Sequence[Any], example: Example, answers: Mapping[str, Any], steps: Sequence[Any]
) -> dict[str, EvalResult]:
    """The verdict on the answer of each model."""
    found: dict[str, EvalResult] = {}
    failed: dict[str, Failure] = {}
    for name, answer in answers.items():
        if isinstance(answer, Failure):
            failed[name] = answer
        else:
            found[name] = await score_all(evaluators, example, answer, steps=_steps_of(name, steps))
    for name, failure in failed.items():
        found[name] = _failed(failure, tuple(found.values()))
    return {name: found[name] for name in answers}


def _failed(failure: Failure, others: Sequence[EvalResult]) -> EvalResult:
    """The verdict on an evaluation under one model that failed: 0 in all metrics that the others have."""
    scores: dict[str, float] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for other in others:
        scores |= dict.fromkeys(other.scores, 0.0)
        keys |= other.keys
    return EvalResult(scores, dict.fromkeys(scores, failure.message), keys=keys)


def _steps_of(name: str, steps: Sequence[Any]) -> list[Any]:
    """The runs of an evaluation under one model; all where they do not tell whose they are."""
    found = []
    for run in steps:
        if ((getattr(run, "extra", None) or {}).get("metadata") or {}).get(BY_MODEL, name) == name:
            found.append(run)
    return found
