"""`run_bench`: methods on tasks at equal search calls, as one table.

Tasks with a model have rows from a folder or the hub, a matcher and a plain first prompt. Matchers that only one
task needs are here, not among the evaluators (algorithms 4.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError, DataError, UsageError
from langchain_promptopt.protocols import rng_at
from langchain_promptopt.recipe import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PLANTED = "planted"


def run_bench(  # noqa: PLR0913
    tasks: Sequence[str],
    methods: Sequence[str],
    *,
    seeds: int = 3,
    search_calls: int = 1000,
    model: str | None = None,
    optimizer: str | None = None,
    folder: str | Path | None = None,
) -> dict[str, Any]:
    """Each method on each task with the same seeds and the same number of search calls.

    Args:
        tasks: "planted" (or "planted:long", ":medium", ":short", ":rewrite"), which needs no model, or benchmark
            tasks such as "banking77", "gsm8k", "bbh/navigate" with `folder` or from the hub.
        methods: Preset names.
        seeds: How many seeds, from 0.
        search_calls: `Budget(search_calls=...)` of every run.
        model: Task model of benchmark tasks, "offline" or "provider:name".
        optimizer: Optimizer model; `model` where it is not given.
        folder: Folder with `<task>/train.jsonl` and so on; None loads from the hub.

    Returns:
        "rows" (task, method, test with interval, calls) and "notes" (what was not run, and why).

    Raises:
        UsageError: When none of the tasks can be run; otherwise such a task becomes a note.
    """
    if seeds < 1 or search_calls < 1:
        msg = f"a bench needs at least 1 seed and 1 search call, got {seeds} and {search_calls}"
        raise ConfigError(msg)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    refused: list[UsageError] = []
    for task in tasks:
        if task.partition(":")[0] == PLANTED:
            rows += _planted(task, methods, seeds, search_calls)
        elif model is None:
            notes.append(f"{task}: not run, no model was given (--model)")
        else:
            try:
                rows += _with_model(task, methods, seeds, search_calls, (model, optimizer or model, folder))
            except UsageError as error:
                refused.append(error)
                notes.append(f"{task}: not run: {str(error).splitlines()[0]}")
    if refused and not rows:
        raise refused[0]
    return {"search_calls": search_calls, "seeds": seeds, "rows": rows, "notes": notes}


def _planted(task: str, methods: Sequence[str], seeds: int, search_calls: int) -> list[dict[str, Any]]:
    from langchain_promptopt.bench.planted import bootstrap, mean, run_in_world
    from langchain_promptopt.bench.world import WORLDS
    from langchain_promptopt.presets import recipe_of

    name = task.partition(":")[2]
    if name and name not in WORLDS:
        msg = f"there is no planted world {name!r}"
        raise ConfigError(msg, mend=f"Known: {', '.join(WORLDS)}.")
    out = []
    for world in [name] if name else list(WORLDS):
        for method in methods:
            traces = [run_in_world(recipe_of(method), WORLDS[world], s, search_calls) for s in range(seeds)]
            row: dict[str, Any] = {"task": f"{PLANTED}:{world}", "method": method}
            row["start"] = mean([t.start for t in traces])
            row["test"] = bootstrap([t.test for t in traces]).as_json()
            row["search_calls"] = mean([t.search_calls for t in traces])
            row["optimizer_calls"] = mean([t.optimizer_calls for t in traces])
            out.append(row)
    return out


def _with_model(
    task: str, methods: Sequence[str], seeds: int, search_calls: int, who: tuple[str, str, str | Path | None]
) -> list[dict[str, Any]]:
    from langchain_promptopt.bench.planted import bootstrap, mean

    model, optimizer, folder = who
    loaded = task_of(task, folder)
    out = []
    for method in methods:
        runs = [run_task_once(loaded, method, seed, search_calls, model, optimizer) for seed in range(seeds)]
        scored = [r for r in runs if r["test"] is not None]
        row: dict[str, Any] = {"task": task, "method": method, "start": None, "test": None, "runs": len(runs)}
        if scored:
            row["start"] = mean([r["start"] for r in scored])
            row["test"] = bootstrap([r["test"] for r in scored]).as_json()
        row["search_calls"] = mean([r["search_calls"] for r in runs])
        row["optimizer_calls"] = mean([r["optimizer_calls"] for r in runs])
        row["outcomes"] = [r["outcome"] for r in runs]
        out.append(row)
    return out


def as_markdown(table: Mapping[str, Any]) -> str:
    """The table of `run_bench`: scores of the runs whose candidate was put to the test, and how all runs ended."""
    lines = [
        f"{table['seeds']} seed{'s' if table['seeds'] > 1 else ''}, {table['search_calls']:,} search calls a run;"
        " 95 % intervals over seeds.",
        "",
        "| task | method | start | held-out test | search calls | optimizer calls | outcomes |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += list(map(_row, table["rows"]))
    return "\n".join([*lines, *(f"\n{note}" for note in table["notes"])])


def _row(row: Mapping[str, Any]) -> str:
    t, start = row["test"], row["start"]
    ended = row.get("outcomes", [])
    cells = [
        row["task"],
        row["method"],
        "-" if start is None else f"{start:.3f}",
        "not tested" if t is None else f"{t['mean']:.3f} [{t['low']:.3f}, {t['high']:.3f}] n={t['n']}",
        f"{row['search_calls']:.0f}",
        f"{row['optimizer_calls']:.0f}",
        ", ".join(f"{ended.count(o)} {o}" for o in dict.fromkeys(ended)) or "-",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


# ---------------------------------------------------------------- tasks with a model

_BRACKETS = re.compile(r"[\]\)\}>](?:[ \t]*[\]\)\}>])*")


def dyck_match(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    """1 when the last run of closing brackets is the expected one.

    >>> dyck_match("So the rest is ] ) >", {"answer": "] ) >"})["score"]
    1.0
    """
    runs = _BRACKETS.findall(_text(outputs))
    said = "".join(runs[-1].split()) if runs else ""
    return {"key": "dyck_match", "score": float(said == "".join(_text(reference_outputs).split()))}


def word_order_match(outputs: Any, reference_outputs: Any) -> dict[str, Any]:
    r"""1 when the words stand in the expected order: one a line, or all in a line of the reply.

    >>> word_order_match("Sorted:\nant bee cow", {"answer": "ant bee cow"})["score"]
    1.0
    """
    wanted = _words(_text(reference_outputs))
    lines = list(map(_words, _text(outputs).splitlines()))
    single = [line[-1] for line in lines if line]
    right = wanted in lines or single[-len(wanted) :] == wanted
    return {"key": "word_order_match", "score": float(right)}


def _words(text: str) -> list[str]:
    found: list[str] = []
    for w in re.sub(r"^\s*(?:[-*]|\d+[.)])\s+", "", text).replace(",", " ").split():
        found.append(w.strip(".,;:'\"()").lower())
    return found


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return _text(value.get("answer", value.get("output", next(iter(value.values()), ""))))
    content = getattr(value, "content", value)
    return content if isinstance(content, str) else str(content)


SIZES = {"train": 100, "dev": 100, "test": 300}
"""Most rows of a split (GPO's sizes for GSM8K)."""
_COT = "{question}\n\nLet's think step by step."
_MATCH = {"number": "number_match", "choice": "choice_match", "text": "rouge_l"}
_OWN: Mapping[str, Callable[..., Any]] = {"dyck_languages": dyck_match, "word_sorting": word_order_match}
_TASK_DEFAULTS = {"gsm8k": "gsm8k/gpo", "clinc150": "clinc150/small"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Hub:
    """Where a task is on the hub, and how one of its records becomes question and answer.

    Args:
        path: Repository of the hub, or a folder of its files.
        name: Its configuration; a task name such as "bbh/navigate" gives its own.
        kind: Kind of answer, or a function of the answer that tells it.
        row: Question and answer of a record.
        splits: Split here -> split there; splits that share one are dealt out of it in turn.
        decoded: Columns of class numbers that are read as class names.
    """

    path: str
    name: str | None
    kind: str | Callable[[str], str]
    row: Callable[[Mapping[str, Any]], tuple[str, str]]
    splits: Mapping[str, str]
    decoded: tuple[str, ...] = ()


def _gsm8k(record: Mapping[str, Any]) -> tuple[str, str]:
    return str(record["question"]), str(record["answer"]).rsplit("####", 1)[-1].strip().replace(",", "")


def _lettered(record: Mapping[str, Any]) -> tuple[str, str]:
    options = "\n".join(f"({chr(65 + i)}) {c}" for i, c in enumerate(record["choices"]))
    return f"{record['question']}\n{options}", f"({chr(65 + int(record['answer']))})"


def _columns(question: str, answer: str) -> Callable[[Mapping[str, Any]], tuple[str, str]]:
    return lambda record: (str(record[question]), str(record[answer]).strip())


def _bbh_kind(answer: str) -> str:
    """By the form of the answer: a lettered option, a number, or one of a few words."""
    if re.fullmatch(r"\([A-Z]\)", answer):
        return "choice"
    return "number" if re.fullmatch(r"-?\d+", answer) else "words"


_TRAIN_TWICE = {"train": "train", "dev": "train", "test": "test"}
HUB: Mapping[str, Hub] = {
    "gsm8k": Hub("openai/gsm8k", "main", "number", _gsm8k, _TRAIN_TWICE),
    "multiarith": Hub("ChilleD/MultiArith", None, "number", _columns("question", "final_ans"), _TRAIN_TWICE),
    "bbh": Hub("lukaemon/bbh", None, _bbh_kind, _columns("input", "target"), dict.fromkeys(SIZES, "test")),
    "mmlu": Hub("cais/mmlu", None, "choice", _lettered, {"train": "validation", "dev": "validation", "test": "test"}),
    "banking77": Hub("mteb/banking77", None, "label", _columns("text", "label_text"), _TRAIN_TWICE),
    "clinc150": Hub(
        "clinc/clinc_oos",
        "small",
        "label",
        _columns("text", "intent"),
        {"train": "train", "dev": "validation", "test": "test"},
        ("intent",),
    ),
}
"""Tasks whose hub records are mapped here; WSC and WebNLG need a folder."""


@dataclass(frozen=True)
class BenchTask:
    """A task ready to run."""

    name: str
    rows: Mapping[str, Sequence[Row]]
    kind: str
    labels: tuple[str, ...]

    @property
    def evaluator(self) -> Any:
        """The matcher of the task: its own, or by the kind of answer."""
        own = _OWN.get(self.name.rsplit("/", 1)[-1])
        return own or _MATCH.get(self.kind, "label_match")

    def first_prompt(self) -> Any:
        """Chain of thought where the answer is worked out; the plain list of labels where it is chosen from many."""
        from langchain_core.prompts import ChatPromptTemplate

        from langchain_promptopt.offline import label_prompt

        listed = self.kind == "label"
        return ChatPromptTemplate.from_messages(
            [("human", label_prompt(self.labels, variable="question") if listed else _COT)]
        )


def task_of(name: str, folder: str | Path | None, seed: int = 0) -> BenchTask:
    """Load a task: `folder/<name>/{train,dev,test}.jsonl`, or the hub without a folder.

    Args:
        name: Name of the task, such as "gsm8k" or "bbh/navigate".
        folder: Folder of the tasks; None loads from the hub.
        seed: Decides which rows are drawn where a split has more than `SIZES`.

    Raises:
        DataError: The task is not there, or its records have other columns.
    """
    rows = _from_folder(name, Path(folder)) if folder is not None else _from_hub(name)
    cut = {s: _some(r, SIZES[s], seed, name, s) for s, r in rows.items()}
    kinds = {str(r.get("metadata", {}).get("answer_type", "label")) for r in cut["dev"]}
    found = set()
    for split in cut.values():
        for r in split:
            found.add(str(r["outputs"]["answer"]))
    labels = sorted(found)
    return BenchTask(name, cut, next(iter(kinds)), tuple(labels))


def _some(rows: Sequence[Row], n: int, seed: int, *place: str) -> list[Row]:
    return list(rows) if len(rows) <= n else rng_at(seed, "bench", *place).sample(list(rows), n)


def _from_folder(name: str, folder: Path) -> dict[str, list[Row]]:
    where = folder / _TASK_DEFAULTS.get(name, name)
    where = where if (where / "dev.jsonl").exists() else where / "main"
    if not (where / "dev.jsonl").exists():
        msg = f"there is no task {name!r} in the folder"
        raise DataError(msg, where=str(where), mend="A task is a folder with train.jsonl, dev.jsonl and test.jsonl.")
    found: dict[str, list[Row]] = {}
    for s in SIZES:
        found[s] = [json.loads(line) for line in (where / f"{s}.jsonl").read_text("utf-8").splitlines() if line]
    return found


def _from_hub(name: str) -> dict[str, list[Row]]:
    head, _, config = name.partition("/")
    hub = HUB.get(head)
    if hub is None:
        msg = f"task {name!r} is not mapped to the hub"
        raise DataError(msg, mend=f"Give a folder with its examples, or use one of {', '.join(HUB)}.")
    return rows_of(hub, config)


def rows_of(hub: Hub, config: str = "") -> dict[str, list[Row]]:
    """The rows of a hub task by split."""
    records = {theirs: _records(hub, config or hub.name, theirs) for theirs in dict.fromkeys(hub.splits.values())}
    out: dict[str, list[Row]] = {}
    for split, theirs in hub.splits.items():
        shared = [s for s, t in hub.splits.items() if t == theirs]
        out[split] = [_row_of(hub, r) for r in records[theirs][shared.index(split) :: len(shared)]]
    return out


def _records(hub: Hub, config: str | None, split: str) -> list[dict[str, Any]]:
    from datasets import load_dataset

    found = load_dataset(hub.path, config, split=split)
    named = {}
    for c in hub.decoded:
        if hasattr(found.features.get(c), "int2str"):
            named[c] = found.features[c].int2str
    out: list[dict[str, Any]] = []
    for record in found:
        out.append({c: named[c](v) if c in named else v for c, v in record.items()})
    return out


def _row_of(hub: Hub, record: Mapping[str, Any]) -> Row:
    try:
        question, answer = hub.row(record)
    except KeyError as missing:
        msg = f"a record of {hub.path} has no column {missing}"
        raise DataError(msg, mend=f"It has {', '.join(record)}. Give a folder with the examples instead.") from None
    kind = hub.kind if isinstance(hub.kind, str) else hub.kind(answer)
    return {"inputs": {"question": question}, "outputs": {"answer": answer}, "metadata": {"answer_type": kind}}


def run_task_once(
    task: BenchTask, method: str, seed: int, search_calls: int, model: str, optimizer: str
) -> dict[str, Any]:
    """One run through the whole product, gate included; `test` is None when no candidate was put to the test.

    Args:
        task: The task.
        method: Name of a preset.
        seed: Seed of the run.
        search_calls: Limit on target calls of the search.
        model: The task model, as `init_chat_model` names it.
        optimizer: The optimizer model, likewise.

    Returns:
        Outcome, test scores of baseline and winner, and the calls spent.
    """
    from langchain_promptopt.optimizer.facade import optimize

    data = {}
    for split, rows in task.rows.items():
        data[split] = list(map(dict, rows))
    with TemporaryDirectory() as nowhere:  # a bench decides nothing, so its openings of the test rows are not kept
        result = optimize(
            task.first_prompt(),
            data=data,
            evaluators=[task.evaluator],
            optimizer_model=optimizer,
            task_model=model,
            method=method,
            budget=Budget(search_calls=search_calls),
            apply="never",
            openings=Path(nowhere) / "openings.jsonl",
            seed=seed,
            drop_leaks=True,
        )
    first = result.test[0] if result.test else None
    by_role = result.usage.get("by_role", {})
    return {
        "outcome": result.outcome,
        "start": first["baseline"] if first else None,
        "test": first["best"] if first else None,
        "search_calls": result.usage.get("search_calls", 0),
        "optimizer_calls": by_role.get("optimizer", {}).get("calls", 0),
    }
