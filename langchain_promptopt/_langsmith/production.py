"""Examples made of a project's runs: `data="langsmith-project:NAME"`.

Root runs of a window of time are read in pages. A run's reference comes from people's feedback, from a named evaluator
or from a preference, never from a guess. What repeats an earlier input is found where rows are loaded, because only
there it is known what the prompts read.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langsmith.utils import LangSmithConflictError, LangSmithNotFoundError

from langchain_promptopt._collections import without
from langchain_promptopt._langsmith.datasets import feedback_on, is_of_people, queued_runs, words_of
from langchain_promptopt._langsmith.service import LangSmithOptions, Service
from langchain_promptopt.errors import ConfigError, CredentialsError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

JsonObject: TypeAlias = Mapping[str, Any]

NO_ROWS = "no rows"
"""The reason of the error where a window holds nothing that can be an example."""
_PAGE = 100
MOST_RUNS = 10_000
"""Runs that one reading looks at; a longer window is cut at its old end, and that is said."""
_DEFAULT_WINDOW = "7d"
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DAY = 86_400
_SELECTED = (
    *("ID", "STATUS", "START_TIME", "INPUTS", "OUTPUTS", "METADATA", "FEEDBACK_STATS", "TRACE_ID", "ERROR"),
    *("REFERENCE_EXAMPLE_ID", "THREAD_ID"),
)
_NOT_OURS = frozenset({"id", "split", "dataset_split"})
"""Metadata of runs that rows would take for their own id and split."""


@dataclass(frozen=True)
class Window:
    """From when to when runs began; `end` itself is not in it."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, text: str | None, as_of: str | None, now: datetime) -> Window:
        """The window that "24h", "7d" or "START/END" means.

        Args:
            text: Minutes, hours, days or weeks before the end; or two times in ISO form; None is 7 days.
            as_of: The end, in ISO form (further words are left alone); None is the last full unit before `now`.
            now: The time of the reading.

        Raises:
            ConfigError: It cannot be read, or ends before it begins.

        >>> noon = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)
        >>> Window.of("24h", None, noon).end.isoformat(), Window.of("3h", None, noon).end.isoformat()
        ('2026-11-28T00:00:00+00:00', '2026-11-28T12:00:00+00:00')
        """
        given = (text or _DEFAULT_WINDOW).strip()
        if "/" in given:
            first, _, last = given.partition("/")
            return cls._checked(_time(first, given), _time(last, given), given)
        found = re.fullmatch(r"(\d{1,6})\s*([mhdw])", given)
        if found is None or not int(found.group(1)):
            raise _unreadable(given)
        seconds = int(found.group(1)) * _UNITS[found.group(2)]
        unit = _UNITS[found.group(2)]
        unit = _DAY if seconds % _DAY == 0 else unit
        whole = now.timestamp() // unit * unit
        end = datetime.fromtimestamp(whole, UTC) if as_of is None else _time(as_of.split()[0], as_of)
        return cls._checked(end - timedelta(seconds=seconds), end, given)

    @classmethod
    def _checked(cls, start: datetime, end: datetime, given: str) -> Window:
        if not start < end:
            msg = f"the window {given!r} ends before it begins"
            raise ConfigError(msg, where="data.window", mend='Write "START/END", the earlier time first.')
        return cls(start, end)

    def __str__(self) -> str:
        return f"{self.start.isoformat()} to {self.end.isoformat()}"


def _time(text: str, given: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise _unreadable(given) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def _unreadable(given: str) -> ConfigError:
    msg = f"{given!r} is not a window of time"
    mend = 'Write "24h", "7d" or "2w", or two times: "2026-11-27T00:00/2026-11-28T00:00".'
    return ConfigError(msg, where="data.window", mend=mend)


@dataclass(frozen=True)
class Reference:
    """Where the reference of a run comes from.

    Args:
        kind: What gives it.
        key: The feedback's key; "" for corrections under any key.
        least: The score from which the run's own answer counts as right.
    """

    kind: Literal["correction", "feedback", "evaluator", "preference"]
    key: str = ""
    least: float = 1.0

    @classmethod
    def of(cls, text: str | None) -> Reference | None:
        """What `data.reference` names. Raises ConfigError for anything else.

        >>> Reference.of("feedback:stars>=4")
        Reference(kind='feedback', key='stars', least=4.0)
        """
        if text is None:
            return None
        if text == "correction":
            return cls("correction")
        found = re.fullmatch(r"(feedback|evaluator|preference):([^<>=]+?)(?:\s*>=\s*(-?\d+(?:\.\d+)?))?", text.strip())
        if found is None:
            msg = f"{text!r} does not say where references come from"
            mend = 'Write "correction", "feedback:KEY", "feedback:KEY>=4", "evaluator:KEY" or "preference:KEY".'
            raise ConfigError(msg, where="data.reference", mend=mend)
        kind: Any = found.group(1)
        return cls(kind, found.group(2).strip(), float(found.group(3) or 1.0))

    @property
    def condition(self) -> str:
        """The filter that finds runs with this feedback, "" where LangSmith has none."""
        return f'eq(feedback_key, "{self.key}")' if self.key else ""

    def read(self, run: JsonObject, said: Sequence[JsonObject]) -> dict[str, Any] | None:
        """The reference of one run, or None; None for preferences too, which are about several runs.

        Args:
            run: The run.
            said: All feedback on it, oldest first; the latest that says something counts.
        """
        for one in () if self.kind == "preference" else reversed(said):
            if (self.kind == "evaluator") is is_of_people(one):
                continue
            if self.kind == "correction":
                if one.get("correction"):
                    return as_reference(one["correction"])
                continue
            if one.get("key") == self.key and not isinstance(found := self._told(run, one), _Silent):
                return found
        return None

    def _told(self, run: JsonObject, one: JsonObject) -> dict[str, Any] | _Silent | None:
        if one.get("correction"):
            return as_reference(one["correction"])
        if (score := one.get("score")) is not None:
            return run_answer(run) if float(score) >= self.least else None
        if one.get("value") not in (None, ""):
            return as_reference(one["value"])
        return _Silent()


class _Silent:
    """What a feedback says that holds a comment only."""


def as_reference(value: Any) -> dict[str, Any]:
    """A correction or a value as reference outputs.

    >>> as_reference("billing"), as_reference({"label": "billing"})
    ({'output': 'billing'}, {'label': 'billing'})
    """
    return dict(value) if isinstance(value, Mapping) else {"output": value}


def run_answer(run: JsonObject) -> dict[str, Any] | None:
    """What a run answered, messages as their text; None where it answered nothing.

    >>> run_answer({"outputs": {"messages": [{"type": "human", "content": "hi"}, {"type": "ai", "content": "ho"}]}})
    {'output': 'ho'}
    """
    outputs = run.get("outputs")
    if not isinstance(outputs, Mapping) or not outputs:
        return None
    found = {}
    for name, value in outputs.items():
        text = _text_of(value)
        found[name] = value if text is None else text
    return {"output": found["messages"]} if set(found) == {"messages"} else found


def _text_of(value: Any) -> str | None:
    """The text of a message, or of the last message a model wrote in a list of them; None for other values."""
    if isinstance(value, list) and value and all(map(_role, value)):
        spoken = [m for m in value if _role(m) in {"ai", "assistant", "AIMessage"}]
        return _text_of(spoken[-1]) if spoken else None
    if not _role(value):
        return None
    content = value.get("kwargs", value).get("content")
    if isinstance(content, list):
        content = "".join(part.get("text", "") if isinstance(part, Mapping) else str(part) for part in content)
    return content if isinstance(content, str) else None


def _role(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ""
    if value.get("type") == "constructor" and isinstance(value.get("kwargs"), Mapping):
        return str((value.get("id") or [""])[-1]) if "content" in value["kwargs"] else ""
    return str(value.get("type") or value.get("role") or "") if "content" in value else ""


@dataclass
class ProjectRows:
    """Reads the runs of a project as rows: a resolver for `Settings.remote`.

    Args:
        options: Window, filter, limit, sample, reference, queues, issues and insights.
        seed: Of the sample.
        references: Whether an evaluator needs references; runs without one are then left out.
        service: The API; None connects on the first read.
        now: Gives the time, for windows that end at the last full hour or day.
    """

    options: LangSmithOptions
    seed: int = 0
    references: bool = True
    service: Service | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    notes: list[str] = field(default_factory=list)
    """What was read and what was left out, in sentences."""
    version: str | None = None
    """The end of the window that was read."""

    def __call__(self, source: str) -> list[dict[str, Any]]:
        """The rows, newest first, in the shape {id, inputs, outputs, metadata, note}.

        Raises:
            ConfigError: Window, sample, limit or reference cannot be used.
            CredentialsError: There is no such project or queue, or the key may not read it.
            DataError: No run became a row.
            UnavailableError: LangSmith could not be reached.
        """
        name, options = source.partition(":")[2].strip(), self.options
        window = Window.of(options.window, options.as_of, self.now())
        reference = Reference.of(options.reference)
        self._check(name, reference)
        service = self.service = self.service or Service()
        project = project_of(service, name)
        runs = self._chosen(self._read(project, window, reference), window)
        said = feedback_of(service, runs)
        remarks = self._remarks(project, name)
        rows = self._rows(runs, said, reference, remarks)
        kept = [row for row in rows if row["outputs"] is not None or not self.references]
        if not kept:
            msg = f"no run of project {name!r} from {window} became an example: {len(runs)} runs were read"
            msg += f", none of them with a reference ({options.reference})" if runs else ""
            raise DataError(
                msg, where=service.client.api_url, mend="Check window, filter and reference in [data].", reason=NO_ROWS
            )
        if options.limit is not None and len(kept) > options.limit:
            chosen = {row["id"] for row in sorted(kept, key=lambda row: self._unit(row["id"]))[: options.limit]}
            kept = [row for row in kept if row["id"] in chosen]
        for row in kept:
            row["metadata"]["project"], row["metadata"]["window"] = name, str(window)
        self.version = window.end.isoformat()
        left = f"; {len(rows) - len(kept)} left out (no reference, or above the limit)" if len(rows) > len(kept) else ""
        self.notes.append(f"project {name!r}, runs from {window}: {len(runs)} runs, {len(kept)} examples{left}")
        return kept

    def _check(self, name: str, reference: Reference | None) -> None:
        options = self.options
        if not name:
            msg = "no LangSmith project is named"
            raise ConfigError(msg, where="data.source", mend='Write "langsmith-project:NAME".')
        if options.sample is not None and not 0 < options.sample <= 1:
            msg = f"sample is {options.sample}, not a share of the runs"
            raise ConfigError(msg, where="data.sample", mend="Write a number above 0 and at most 1, as 0.1.")
        if options.limit is not None and options.limit < 1:
            msg = f"limit is {options.limit}"
            raise ConfigError(msg, where="data.limit", mend="Write how many runs may become examples, as 500.")
        if reference is None and self.references:
            msg = "the evaluators compare with a reference, and runs have none of their own"
            mend = 'Set data.reference: "correction", "feedback:KEY", "evaluator:KEY" or "preference:KEY".'
            raise ConfigError(msg, where="data.reference", mend=mend)

    def _read(self, project: JsonObject, window: Window, reference: Reference | None) -> list[dict[str, Any]]:
        """The root runs of the window that ended without an error."""
        conditions = [c for c in (self.options.filter, reference and reference.condition) if c]
        wanted = conditions[0] if len(conditions) == 1 else f"and({', '.join(conditions)})" if conditions else None
        assert self.service is not None  # noqa: S101 - set by the caller, for the type checker
        runs = read_runs(self.service, str(project["id"]), window, wanted)
        if not self.options.queues:
            return runs
        queued: set[str] = set()
        for queue in self.options.queues:
            queued |= {str(run["id"]) for run in queued_runs(self.service, queue)}
        return [run for run in runs if run["id"] in queued]

    def _chosen(self, runs: list[dict[str, Any]], window: Window) -> list[dict[str, Any]]:
        if len(runs) >= MOST_RUNS:
            first = min(str(run["start_time"]) for run in runs)
            self.notes.append(
                f"the window from {window} holds more runs than are read at once: those since {first} were read;"
                " narrow it with data.window or data.filter"
            )
        share = self.options.sample
        return runs if share is None else [run for run in runs if self._unit(run["id"]) < share]

    def _unit(self, run: str) -> float:
        """A number in [0, 1) that depends on the run and the seed alone, so a window that grows keeps its sample."""
        digest = hashlib.sha256(f"sample/{self.seed}/{run}".encode()).digest()
        return int.from_bytes(digest[:7], "big") / 2**56

    def _rows(
        self,
        runs: Sequence[JsonObject],
        said: Mapping[str, list[JsonObject]],
        reference: Reference | None,
        remarks: Mapping[str, list[str]],
    ) -> list[dict[str, Any]]:
        preferred, passed_over = preferences(runs, said, reference)
        rows = []
        for run in runs:
            uid = run["id"]
            if uid in passed_over:
                continue
            wins = preferred.get(uid)
            mine = said.get(uid, [])
            about = [*remarks.get(uid, ()), *remarks.get(str(run.get("trace_id")), ())]
            words = [*(words_of(f) for f in mine if is_of_people(f)), *about]
            if wins:
                words.append(wins.note)
            outputs = wins.reference if wins else reference.read(run, mine) if reference else None
            note = "; ".join(dict.fromkeys(filter(None, words)))
            metadata = _metadata(run, mine) | ({"rejected": wins.rejected} if wins else {})
            row: dict[str, Any] = {"id": uid, "inputs": dict(run["inputs"]), "outputs": outputs, "metadata": metadata}
            rows.append(row | ({"note": note} if note else {}))
        return rows

    def _remarks(self, project: JsonObject, name: str) -> dict[str, list[str]]:
        """What issues and insights of the project say about a run or trace, by its id."""
        found: dict[str, list[str]] = defaultdict(list)
        assert self.service is not None  # noqa: S101 - set by the caller, for the type checker
        if self.options.issues:
            for issue in _issues(self.service, name):
                text = ": ".join(str(issue[k]) for k in ("title", "description") if issue.get(k))
                for trace in issue.get("trace_ids") or ():
                    found[str(trace)].append(f"issue: {text}")
        if self.options.insights is not None:
            for cluster, traces in _clusters(self.service, str(project["id"]), self.options.insights):
                for trace in traces:
                    found[trace].append(f"insight: {cluster}")
        return found


def project_of(service: Service, name: str) -> JsonObject:
    """The project of a name. Raises CredentialsError where there is none."""
    found = service.ask(f"looking for project {name!r}", "GET", "/sessions", params={"name": name, "limit": 1})
    if not found:
        msg = f"there is no LangSmith project {name!r}"
        mend = "Check the name, and that the key belongs to its workspace."
        raise CredentialsError(msg, where=service.client.api_url, mend=mend, role="langsmith", status=404)
    project: JsonObject = found[0]
    return project


def read_runs(service: Service, project: str, window: Window, condition: str | None) -> list[dict[str, Any]]:
    """Root runs of a window that ended without an error, newest first, each once.

    Args:
        service: The API.
        project: The project's id.
        window: When they began.
        condition: A filter in LangSmith's language; None is all.

    Raises:
        CredentialsError: The key may not read them.
        UnavailableError: LangSmith could not be reached.
    """
    found: dict[str, dict[str, Any]] = {}
    cursor: str | None = None
    while len(found) < MOST_RUNS:
        rows, cursor = _page(service, project, window, condition, cursor)
        for row in rows:
            began = _time(str(row["start_time"]), str(row["start_time"]))
            whole = str(row.get("status") or "success").lower() == "success" and isinstance(row.get("inputs"), Mapping)
            if whole and window.start <= began < window.end:
                found.setdefault(str(row["id"]), {**row, "id": str(row["id"])})
        if not cursor:
            break
    return sorted(found.values(), key=lambda run: (str(run["start_time"]), run["id"]), reverse=True)


def _page(
    service: Service, project: str, window: Window, condition: str | None, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """One page of runs: from the query of today's LangSmith, or where that is missing from the one before it."""
    base = re.sub(r"/api(/v1)?$", "", service.client.api_url.rstrip("/"))
    since, until = window.start.isoformat(), window.end.isoformat()
    common = {"is_root": True, "filter": condition, "cursor": cursor}
    new = {"project_ids": [project], "min_start_time": since, "max_start_time": until, "has_error": False}
    new |= {"page_size": _PAGE, "selects": list(_SELECTED), **common}
    old = {"session": [project], "start_time": since, "end_time": until, "error": False, "limit": _PAGE, **common}

    def act() -> tuple[list[dict[str, Any]], str | None]:
        try:
            body = {k: v for k, v in new.items() if v is not None}
            answer = service.once("POST", f"{base}/api/v2/runs/query", json=body)
            return [*answer["items"]], answer.get("next_cursor")
        except LangSmithNotFoundError:
            body = {k: v for k, v in old.items() if v is not None}
            answer = service.once("POST", "/runs/query", json=body)
            return [*answer["runs"]], (answer.get("cursors") or {}).get("next")

    return service.call("reading runs", act)


def feedback_of(service: Service, runs: Iterable[JsonObject]) -> dict[str, list[JsonObject]]:
    """All feedback by run, oldest first, of people and of evaluators; runs that say they have none are not asked."""
    asked = [str(run["id"]) for run in runs if run.get("feedback_stats") != {}]
    found: dict[str, list[JsonObject]] = defaultdict(list)
    for one in feedback_on(service, asked, people=False):
        found[str(one["run_id"])].append(one)
    return found


def _metadata(run: JsonObject, said: Sequence[JsonObject]) -> dict[str, Any]:
    """The run's own metadata, its answer, and the scores that people and evaluators gave it."""
    given = run.get("metadata") or (run.get("extra") or {}).get("metadata") or {}
    found = without(given, _NOT_OURS)
    if run.get("thread_id"):
        found.setdefault("thread_id", run["thread_id"])
    people: dict[str, Any] = {}
    evaluators: dict[str, Any] = {}
    for one in said:
        value = one["score"] if one.get("score") is not None else one.get("value")
        if value is not None:
            (people if is_of_people(one) else evaluators)[str(one["key"])] = value
    found |= {"answer": run_answer(run), "started": str(run["start_time"])}
    return found | ({"people": people} if people else {}) | ({"evaluators": evaluators} if evaluators else {})


@dataclass(frozen=True)
class Preferred:
    """An answer that people preferred to others."""

    reference: dict[str, Any] | None
    rejected: list[Any]
    note: str


def preferences(
    runs: Sequence[JsonObject], said: Mapping[str, list[JsonObject]], reference: Reference | None
) -> tuple[dict[str, Preferred], set[str]]:
    """The runs that people preferred, by id, and those that were passed over.

    Feedback on runs that were compared shares a group; the run with the one highest score was preferred.

    Args:
        runs: The runs that were read.
        said: Their feedback.
        reference: Its kind must be "preference", else there are none.
    """
    if reference is None or reference.kind != "preference":
        return {}, set()
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for uid, feedback in said.items():
        for one in feedback:
            group, score = one.get("feedback_group_id"), one.get("score")
            if group and score is not None and one.get("key") == reference.key and is_of_people(one):
                groups[str(group)][uid] = float(score)
    by_id = {run["id"]: run for run in runs}
    found: dict[str, Preferred] = {}
    passed: set[str] = set()
    for scores in groups.values():
        best = max(scores.values())
        winners = [uid for uid, score in scores.items() if score == best]
        if len(scores) > 1 and len(winners) == 1:
            losers = [run_answer(by_id[uid]) for uid in scores if uid != winners[0]]
            told = f"people preferred {run_answer(by_id[winners[0]])} to {'; '.join(map(str, losers))}"
            found[winners[0]] = Preferred(run_answer(by_id[winners[0]]), losers, told)
            passed |= scores.keys() - {winners[0]}
    return found, passed - found.keys()


def _issues(service: Service, project: str) -> list[JsonObject]:
    ask = getattr(service.client, "list_project_issues", None)
    if ask is None:
        raise _too_old(what="issues")
    found = service.call(f"reading issues of project {project!r}", lambda: ask(project))
    rows: list[JsonObject] = found["issues"] if isinstance(found, Mapping) else found
    return rows


def _clusters(service: Service, project: str, report: str) -> list[tuple[str, list[str]]]:
    """Name and description of each cluster of an insights report, with its runs and traces."""
    ask = getattr(service.client, "get_insights_report", None)
    if ask is None:
        raise _too_old(what="insights")
    what = f"reading insights report {report!r}"

    def act() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the SDK calls it beta, once a process
            return ask(id=report, project_id=project, include_runs=False)

    found = service.call(what, act)
    out = []
    for one in found.clusters:
        runs = service.call(what, one.load_traces)
        ids: dict[str, None] = {}
        for run in runs:
            ids |= dict.fromkeys(str(run[k]) for k in ("id", "run_id", "trace_id") if run.get(k))
        out.append((f"{one.name}: {one.description}", list(ids)))
    return out


# Examples of a dataset

_WRITTEN_AT_ONCE = 50


def dataset_for(service: Service, name: str) -> str:
    """The id of the dataset of this name, which is made where there is none."""
    what = f"looking for dataset {name!r}"

    def known() -> Any:
        found = service.once("GET", "/datasets", params={"name": name, "limit": 1})
        return found[0] if found else None

    made = service.call(what, known)
    if made is None:
        body = {"name": name, "data_type": "kv", "description": "Runs of production, harvested by promptopt"}
        try:
            what = f"making dataset {name!r}"
            made = service.call(what, lambda: service.once("POST", "/datasets", json=body), settled=known)
        except LangSmithConflictError:  # made by another client meanwhile
            made = service.call(what, known)
    return str(made["id"])


def examples_in(service: Service, dataset: str) -> list[dict[str, Any]]:
    """All examples of a dataset in the shape {id, inputs, outputs, metadata}."""
    client = service.client
    found = service.call("reading examples", lambda: list(client.list_examples(dataset_id=dataset)))
    rows = []
    for e in {e.id: e for e in found}.values():
        rows.append({"id": str(e.id), "inputs": e.inputs or {}, "outputs": e.outputs, "metadata": e.metadata or {}})
    return rows


def add_examples(service: Service, dataset: str, rows: Sequence[JsonObject]) -> None:
    """Put rows into a dataset; those that are there already, by their id, are left alone, so repeating it is safe.

    Args:
        service: The API.
        dataset: The dataset's id.
        rows: {id, inputs, outputs, metadata, run}; the ids must be uuids that depend on dataset and row alone.
    """
    client = service.client
    for at in range(0, len(rows), _WRITTEN_AT_ONCE):
        part = rows[at : at + _WRITTEN_AT_ONCE]

        def act(part: Sequence[JsonObject] = part) -> Any:
            wanted = [row["id"] for row in part]
            there = {str(e.id) for e in client.list_examples(example_ids=wanted)}
            new: list[Any] = []
            for row in part:
                if row["id"] not in there:
                    more = {"split": row["metadata"].get("split"), "source_run_id": row.get("run")}
                    metadata = without(row["metadata"], _NOT_OURS)
                    given = {"inputs": row["inputs"], "reference_outputs": row["outputs"], "metadata": metadata}
                    new.append({"id": row["id"], **given, **{k: v for k, v in more.items() if v}})
            return client.create_examples(dataset_id=dataset, examples=new) if new else {}

        service.call("writing examples", act)


def change_examples(service: Service, dataset: str, rows: Sequence[JsonObject]) -> None:
    """Give examples other reference outputs. Repeating it is safe.

    Args:
        service: The API.
        dataset: The dataset's id.
        rows: {id, outputs}.
    """
    from langsmith.schemas import ExampleUpdate

    client = service.client
    for at in range(0, len(rows), _WRITTEN_AT_ONCE):
        part = [{"id": row["id"], "outputs": row["outputs"]} for row in rows[at : at + _WRITTEN_AT_ONCE]]
        updates = list(map(ExampleUpdate.model_validate, part))
        what = "writing references of examples"
        service.call(what, lambda updates=updates: client.update_examples(dataset_id=dataset, updates=updates))  # type: ignore[misc]  # bound early


def _too_old(what: str) -> ConfigError:
    msg = f"the installed langsmith cannot read a project's {what}"
    return ConfigError(msg, where=f"langsmith.{what}", mend="Install a newer one: pip install -U langsmith.")
