"""The report in a terminal. Everything from outside becomes `Text`, which has no markup, with escapes spelled out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from langchain_promptopt.report import wording
from langchain_promptopt.report.discretion import discreet
from langchain_promptopt.report.text import as_text
from langchain_promptopt.report.visible import shortened, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from langchain_promptopt.report.places import Place
    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.report.rows import Row, Rows

_COLORS = {"good": "green", "unsure": "yellow", "flat": "bright_black", "stopped": "yellow", "bad": "red"}
_SHOWN_ROWS, _SHOWN_TEXT = 5, 160
_SHORT_CELL = 18


def safe_text(value: Any, style: str = "", limit: int | None = None) -> Text:
    """A value from outside: no markup, no control sequences, at most `limit` characters."""
    text = visible(as_text(value))
    return Text(text if limit is None else shortened(text, limit), style=style)


def run_view(record: RunRecord, *, show_rows: bool = True) -> RenderableType:
    """All of a run: verdict, edits with reasons, rows worse and better, cost, what to do next.

    Without `show_rows`, rows are told by id and score only, and reasons without what they quote from them.
    """
    record = record if show_rows else discreet(record)
    parts: list[RenderableType] = [verdict_view(record), *edit_views(record)]
    for rows in record.rows.values():
        if rows.split == "test" or "test" not in record.rows:
            parts.append(rows_view(rows if show_rows else rows.without_text()))
    parts.append(usage_view(record))
    if facts := wording.health_facts(record.health):
        table = Table.grid(padding=(0, 2))
        for what, value in facts:
            table.add_row(safe_text(what, "dim"), safe_text(value))
        parts += [Text("\nHow the optimizer model did", style="bold"), table]
    if commands := wording.how_to(record):
        table = Table.grid(padding=(0, 2))
        for what, command in commands:
            table.add_row(safe_text(what, "dim"), safe_text(command))
        parts += [Text("\nWhat to do with it", style="bold"), table]
    return Group(*parts)


def verdict_view(record: RunRecord) -> RenderableType:
    """The verdict in a box."""
    top = wording.headline(record)
    color = _COLORS[top.tone]
    lines = [Text(top.sentence, style="bold")]
    if top.proof:
        lines.append(safe_text(top.proof))
    if note := wording.simulated_note(record):
        lines.append(Text(note, style="yellow"))
    return Panel(Group(*lines), title=Text(top.title, style=f"bold {color}"), title_align="left", border_style=color)


def edit_views(record: RunRecord) -> list[RenderableType]:
    """Each edit on its line, before and after, with reason and evidence."""
    out: list[RenderableType] = [Text(f"\n{wording.edits_title(record)}, and why", style="bold")]
    if not record.edits:
        out.append(Text("Nothing: the prompt is as it was.", style="dim"))
    several = len(record.messages) > 1
    for number, edit in enumerate(record.edits, start=1):
        place = record.place(edit)
        where = f"{edit.prompt}, message {edit.message}, {place.title}" if several else place.title
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", width=3)
        table.add_column(overflow="fold")
        table.add_row(Text(f"{number}.", style="bold"), safe_text(where, "dim"))
        table.add_row("", _line_view("− ", place, place.removed, "red"))
        if place.left + place.added + place.right:
            table.add_row("", _line_view("+ ", place, place.added, "bold green"))
        for reason in edit.reasons:
            table.add_row("", safe_text(reason))
        if edit.example_ids:
            table.add_row("", safe_text("evidence: " + ", ".join(edit.example_ids[:8]), "dim"))
        out.append(table)
    return out


def _line_view(sign: str, place: Place, changed: str, style: str) -> Text:
    color = style.removeprefix("bold ")
    return (
        Text(sign, style=color)
        + safe_text(place.left, "dim")
        + safe_text(changed, style)
        + safe_text(place.right, "dim")
    )


def rows_view(rows: Rows) -> RenderableType:
    """Rows that got worse beside rows that got better."""
    where = "held-out" if rows.split == "test" else f"search ({rows.split})"
    title = f"\n{where.capitalize()} rows: {len(rows.worse)} worse, {len(rows.better)} better, {rows.same} the same"
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    table.add_row(_row_list("Got worse", "red", rows.worse), _row_list("Got better", "green", rows.better))
    return Group(Text(title, style="bold"), table)


def _row_list(title: str, color: str, rows: Sequence[Row]) -> RenderableType:
    lines = [Text(f"{title}: {len(rows)}", style=color)]
    for row in rows[:_SHOWN_ROWS]:
        scores = f"  {wording.points(row.before.score)} → {wording.points(row.after.score)}"
        lines.append(safe_text(row.example_id, "bold", 60) + Text(scores, style="dim"))
        if row.inputs:
            lines.append(safe_text("  " + "; ".join(as_text(v) for v in row.inputs.values()), limit=_SHOWN_TEXT))
        if row.expected:
            lines.append(safe_text("  expected: " + as_text(row.expected), "dim", _SHOWN_TEXT))
        if row.before.output is not None or row.after.output is not None:
            told = f"  {as_text(row.before.output)} → {as_text(row.after.output)}"
            lines.append(safe_text(told, "dim", _SHOWN_TEXT))
    if len(rows) > _SHOWN_ROWS:
        lines.append(Text(f"… {len(rows) - _SHOWN_ROWS} more", style="dim"))
    return Group(*lines)


def usage_view(record: RunRecord) -> RenderableType:
    """Calls, tokens and money by role."""
    columns = ("role", "model", "calls", "input tokens", "output tokens", "cost")
    rows = [
        (
            u.role,
            wording.model_name(str(record.started.get("models", {}).get(u.role, ""))),
            wording.number(u.calls),
            wording.number(u.input_tokens),
            wording.number(u.output_tokens),
            wording.money(u.usd),
        )
        for u in (*record.usage, record.total)
    ]
    return Group(Text("\nWhat it cost", style="bold"), table_view(columns, rows, numbers=range(2, 6)))


def sides_view(by_side: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Calls, tokens and money of the two sides of a comparison."""
    columns = ("side", "calls", "input tokens", "output tokens", "cost")
    rows = [
        (
            side,
            wording.number(used["calls"]),
            wording.number(used["input_tokens"]),
            wording.number(used["output_tokens"]),
            wording.money(used["usd"]),
        )
        for side, used in by_side.items()
    ]
    return Group(Text("\nWhat it cost", style="bold"), table_view(columns, rows, numbers=range(1, 5)))


def table_view(columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> Table:
    """A plain table of values from outside; `numbers` are the columns that stand to the right."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for i, name in enumerate(columns):
        short = all(len(str(row[i])) <= _SHORT_CELL for row in rows)  # ids and numbers are not broken over lines
        needed = max((len(str(cell)) for cell in (name, *(row[i] for row in rows))), default=0) if short else None
        table.add_column(
            name, justify="right" if i in numbers else "left", overflow="fold", no_wrap=short, min_width=needed
        )
    for row in rows:
        table.add_row(*(safe_text(cell) for cell in row))
    return table


def diff_view(record: RunRecord) -> RenderableType:
    """The changed messages with the edits in place, marked as `git diff --word-diff` does, color or not."""
    parts: list[RenderableType] = []
    for message in record.messages:
        if not message.edits:
            continue
        parts.append(safe_text(f"{message.prompt}, message {message.index} ({message.role})", "bold"))
        line, at = Text(), 0
        for _, edit in message.edits:
            head, removed, added, tail = edit.core
            line += safe_text(message.template[at : edit.start] + head)
            line += safe_text(f"[-{removed}-]", "red") if removed else Text()
            line += safe_text(f"{{+{added}+}}", "bold green") if added else Text()
            line += safe_text(tail)
            at = edit.end
        parts.append(line + safe_text(message.template[at:]))
    return Group(*parts) if parts else Text("Nothing changed.", style="dim")


def test_view(outcome: str, metrics: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The gate's table under its verdict."""
    columns = ("metric", "old", "new", "change", "interval", "better / worse", "verdict")
    cells = [wording.metric_cells(metric) for metric in metrics]
    rows = [[c.name, c.old, c.new, c.difference, c.interval, c.moves, c.verdict] for c in cells]
    said = wording.proof(metrics[0]) if metrics else "The held-out rows were not opened."
    title = safe_text(outcome.replace("_", " ").capitalize(), "bold")
    return Group(title, safe_text(said), Text(), table_view(columns, rows, numbers=range(1, 6)))


def facts_view(data: Mapping[str, Any], indent: int = 0) -> RenderableType:
    """Any machine output for people: names and values, nested ones indented."""
    parts: list[RenderableType] = []
    for name, value in data.items():
        label = Text("  " * indent) + safe_text(str(name).replace("_", " "), "bold")
        if isinstance(value, dict) and value:
            parts += [label, facts_view(value, indent + 1)]
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            parts.append(label)
            parts += [facts_view(item, indent + 1) for item in value]
        else:
            shown = ", ".join(as_text(v) for v in value) if isinstance(value, list | tuple) else as_text(value)
            parts.append(label + Text("  ") + safe_text(shown))
    return Group(*parts)
