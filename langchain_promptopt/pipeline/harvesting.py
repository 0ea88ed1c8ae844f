"""Runs of a LangSmith project as examples that are kept: a JSON Lines file or a LangSmith dataset that grows.

An example that was written keeps its split. An input that comes again is no second example; where people have
corrected it since, its reference is replaced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from langchain_promptopt._data import describe_source, read_file
from langchain_promptopt._langsmith.production import (
    ProjectRows,
    add_examples,
    change_examples,
    dataset_for,
    examples_in,
)
from langchain_promptopt._langsmith.service import Service
from langchain_promptopt._text.words import counts_text
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.evaluators import normal_form, resolve_evaluators
from langchain_promptopt.gate.openings import Openings, RowMark, part_read
from langchain_promptopt.optimizer.plan import load_rows, redacted, use_of, with_stored
from langchain_promptopt.pipeline.prepare import load_task, settings_from
from langchain_promptopt.store.folder import write_whole
from langchain_promptopt.types import RowUse, content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_promptopt.config import Config
    from langchain_promptopt.optimizer import Settings
    from langchain_promptopt.ports import DataSet
    from langchain_promptopt.types import Example, Reading

IN_LANGSMITH = "langsmith:"
"""How the name of a dataset begins where examples go to LangSmith."""
RETIRED = "retired"
"""The split of test examples that a gate has looked at; runs leave it out."""


@dataclass
class Growth:
    """What a harvest does to the examples that are kept.

    Args:
        rows: All of them afterwards.
        added: The new ones.
        changed: Those whose reference is another one now.
        retired: How many test examples no test will use again.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    added: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)
    retired: int = 0


@dataclass(frozen=True)
class Harvested:
    """The answer about a harvest."""

    source: str
    to: str
    version: str
    growth: Growth
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The answer for programs."""
        sizes: dict[str, int] = {}
        for row in self.growth.rows:
            name = split_of(row)
            sizes[name] = sizes.get(name, 0) + 1
        counts = {"added": len(self.growth.added), "changed": len(self.growth.changed), "retired": self.growth.retired}
        told = {"source": self.source, "to": self.to, "version": self.version, **counts}
        return {**told, "total": len(self.growth.rows), "splits": sizes, "notes": list(self.notes)}

    def __str__(self) -> str:
        told = self.as_json()
        splits = counts_text(told["splits"])
        parts = [f"{told['added']} examples added", f"{told['changed']} with a new reference"]
        parts += [f"{told['retired']} retired"] if self.growth.retired else []
        return f"{', '.join(parts)}; {self.to} holds {told['total']}: {splits}"


def harvest(
    config: Config,
    to: str | Path,
    *,
    retire: bool = False,
    split: str | None = None,
    reader: ProjectRows | None = None,
) -> Harvested:
    """Write the runs that `[data]` names to a file or a dataset, which is made where there is none.

    Args:
        config: Names the project; its task and evaluators say what of a run counts, its `redact` what is hidden.
        to: A .jsonl file, or "langsmith:NAME" for a dataset.
        retire: Take test examples that a gate has looked at out of later tests. Only in a file.
        split: The split of all new examples; None splits them by hash.
        reader: Reads the project; None is made of the settings.

    Raises:
        ConfigError: The source is no LangSmith project, or `to` is neither file nor dataset.
        DataError: No run became an example, or the file cannot be read.
        UnavailableError: LangSmith could not be reached; nothing is half written.
    """
    config.require("data.source")
    settings = settings_from(config)
    if describe_source(settings.data).kind != "project":
        msg = f"a harvest reads a LangSmith project, and the source is {settings.data!r}"
        raise ConfigError(msg, where="data.source", mend='Write "langsmith-project:NAME".')
    target = _target(to, retire=retire)
    use = what_counts(config, settings)
    reader = reader or ProjectRows(settings.langsmith, settings.seed, use.references)
    data = redacted(load_rows(replace(settings, remote=reader), use, write=False), settings.redact)
    if split is not None:
        data = replace(data, splits={split: data.examples})
    opened = Openings(settings.openings) if retire else None
    if isinstance(target, Path):
        growth = grown(read_kept(target), data, opened=opened)
        write_whole(target, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in growth.rows))
    else:
        growth = _into_dataset(reader.service or Service(), target, data)
    return Harvested(data.source, str(to), data.as_of or "", growth, tuple(map(str, data.notes)))


def what_counts(config: Config, settings: Settings) -> RowUse:
    """What prompts and evaluators do with the rows; where no task is named, every input counts."""
    evaluators = resolve_evaluators(with_stored(settings.evaluators, settings), import_from=settings.import_from)
    if config.task.chain is None and config.task.prompt is None:
        return RowUse(references=config.data.reference is not None)
    use = use_of([load_task(config).task], evaluators)
    return use if config.evaluate.evaluators else replace(use, references=config.data.reference is not None)


def _target(to: str | Path, *, retire: bool) -> Path | str:
    if isinstance(to, str) and to.startswith(IN_LANGSMITH):
        name = to.removeprefix(IN_LANGSMITH).strip()
        if not name or retire:
            msg = "examples are retired in files only" if retire else "no dataset is named"
            raise ConfigError(msg, where="--to", mend='Write --to rows.jsonl, or --to "langsmith:NAME".')
        return name
    path = Path(to).expanduser()
    if path.suffix.lower() != ".jsonl" or not path.parent.is_dir():
        msg = f"{str(to)!r} is no file that examples can be written to"
        raise ConfigError(msg, where="--to", mend="Name a .jsonl file in a folder that is there.")
    return path


def read_kept(path: Path) -> list[dict[str, Any]]:
    """The examples in a file of earlier harvests; none where there is no file yet."""
    if not path.exists() or not path.stat().st_size:
        return []
    return [dict(raw.value) for raw in read_file(path).rows]


def grown(old: Sequence[Mapping[str, Any]], data: DataSet, *, opened: Openings | None = None) -> Growth:
    """The examples kept so far with those just read.

    Args:
        old: Rows in the shape {id, inputs, outputs, metadata}.
        data: What was read, split and without repeats.
        opened: The record by which test rows that were looked at are retired; None retires none.
    """
    readings = data.use.readings
    growth = Growth(list(map(dict, old)))
    if opened is not None:
        growth.retired = _retired(growth.rows, readings, opened)
    known: dict[str, dict[str, Any]] = {}
    for row in growth.rows:
        for key in _keys(row["inputs"], readings):
            known.setdefault(key, row)
    for split, examples in data.splits.items():
        for e in examples:
            keys = _keys(e.inputs, readings)
            before = next((known[key] for key in keys if key in known), None)
            if before is None:
                before = _row(e, "dev" if split == "val" else split)
                growth.rows.append(before)
                growth.added.append(before)
            elif e.outputs and content_hash(before.get("outputs")) != content_hash(e.outputs):
                before["outputs"] = dict(e.outputs)
                growth.changed.append(before)
            for key in keys:
                known.setdefault(key, before)
    return growth


def _retired(rows: Sequence[dict[str, Any]], readings: tuple[Reading, ...], opened: Openings) -> int:
    """Take test rows that were looked at out of later tests; how many there were."""
    gone = [row for row in rows if split_of(row) == "test"]
    gone = [row for row in gone if opened.number([RowMark.of(row["inputs"], readings)]) > 1]
    for row in gone:
        row["metadata"] = {**row["metadata"], "split": RETIRED}
    return len(gone)


def split_of(row: Mapping[str, Any]) -> str:
    """The split a kept row is in; "" where it says none."""
    metadata = row.get("metadata") or {}
    found = metadata.get("split") or metadata.get("dataset_split") or ""
    return str(found[0] if isinstance(found, list) and found else found or "")


def _keys(inputs: Mapping[str, Any], readings: Sequence[Reading]) -> list[str]:
    return list(dict.fromkeys(content_hash(normal_form(part_read(inputs, reading))) for reading in readings))


def _row(e: Example, split: str) -> dict[str, Any]:
    outputs = dict(e.outputs) or None
    metadata = {**e.metadata, "split": split} | ({} if e.group is None else {"group": e.group})
    row = {"id": e.id, "inputs": dict(e.inputs), "outputs": outputs, "metadata": metadata}
    return row | ({"note": e.note} if e.note else {})


def _into_dataset(service: Service, name: str, data: DataSet) -> Growth:
    dataset = dataset_for(service, name)
    growth = grown(examples_in(service, dataset), data)
    fresh = []
    for row in growth.added:
        key = min(_keys(row["inputs"], data.use.readings))
        fresh.append({**row, "id": str(uuid5(NAMESPACE_URL, f"{dataset}/{key}")), "run": row["id"]})
    add_examples(service, dataset, fresh)
    new = set(map(id, growth.added))
    change_examples(service, dataset, [row for row in growth.changed if id(row) not in new])
    return growth
