"""What `show` and the other verbs draw in a terminal.

Everything from outside becomes `Text`, which has no markup, with escape sequences spelled out. Nothing here
is wider than the console: tables and lists that do not fit stand one below the other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from langchain_promptopt.report import wording
from langchain_promptopt.report.privacy import discreet, shortened, spelled_out
from langchain_promptopt.report.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import ConsoleOptions, JustifyMethod, RenderableType

    from langchain_promptopt.report.record import RunRecord
    from langchain_promptopt.report.rows import ComparedRow, ComparedRows, EditPlace
    from langchain_promptopt.types import MetricEntry


def console_for(stream: TextIO) -> Console:
    """A console as wide as its terminal, or as COLUMNS says; never wider. Pipes get 110 columns."""
    # Rich takes 80 columns for a pipe; no window there is that narrow.
    width = None if stream.isatty() or "COLUMNS" in os.environ else 110
    return Console(file=stream, highlight=False, markup=False, emoji=False, width=width)


_COLORS = {"good": "green", "unsure": "yellow", "flat": "bright_black", "stopped": "yellow", "bad": "red"}
_SHOWN_ROWS, _SHOWN_TEXT = 5, 160
_SHORT_CELL = 18
"""Cells up to this width are not broken over lines."""
_WIDE = 90
"""Columns from which two lists stand side by side."""


def safe_text(value: Any, style: str = "", limit: int | None = None) -> Text:
    """A value from outside as a text without markup and without control sequences.

    Args:
        value: Anything; a mapping with one key shows its value, other data is shown as JSON.
        style: A style of rich, as "bold green".
        limit: Most characters that are shown; None shows all.
    """
    text = spelled_out(value_text(value))
    return Text(text if limit is None else shortened(text, limit), style=style)


def run_view(record: RunRecord, *, show_rows: bool = True) -> RenderableType:
    """All of a run: verdict, edits with reasons, rows worse and better, cost, what to do next.

    Without `show_rows`, rows are shown by id and score only, and reasons without what they quote from rows.
    """
    record = record if show_rows else discreet(record)
    parts: list[RenderableType] = [verdict_view(record), *edit_views(record)]
    for rows in record.rows.values():
        if rows.split == "test" or "test" not in record.rows:
            parts.append(rows_view(rows if show_rows else rows.without_text()))
    if models := wording.by_model_rows(record):
        title = safe_text(f"\n{wording.by_model_title(record)}", "bold")
        parts += [title, table_view(wording.BY_MODEL, models, numbers=range(1, 5))]
    if prompts := wording.by_prompt_rows(record):
        parts.append(Text(f"\n{wording.BY_PROMPT_TITLE}", style="bold"))
        parts.append(table_view(wording.BY_PROMPT, prompts, numbers=range(1, 5)))
        parts.append(Text(wording.BY_PROMPT_NOTE, style="dim"))
    parts.append(usage_view(record))
    if tradeoffs := wording.tradeoff_rows(record):
        columns = (*wording.TRADEOFFS[:4], "cost", "")
        parts.append(Text(f"\n{wording.TRADEOFFS_TITLE}", style="bold"))
        parts += [table_view(columns, tradeoffs, numbers=range(1, 5)), Text(wording.TRADEOFFS_NOTE, style="dim")]
    if facts := wording.health_facts(record.health):
        table = Table.grid(padding=(0, 2))
        for what, value in facts:
            table.add_row(safe_text(what, "dim"), safe_text(value))
        parts += [Text("\nHow the optimizer model did", style="bold"), table]
    if commands := wording.how_to(record):
        parts += [Text("\nWhat to do with it", style="bold"), _Commands(tuple(commands))]
    return Group(*parts)


@dataclass(frozen=True)
class _Commands:
    """What can be done next and its command, side by side where each command fits on its line, to be copied."""

    rows: tuple[tuple[str, str], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = Table.grid(padding=(0, 2))
        below: list[RenderableType] = []
        for what, command in self.rows:
            table.add_row(safe_text(what, "dim"), safe_text(command))
            below += [safe_text(what, "dim"), _Continued(command)]
        whats, commands = zip(*self.rows, strict=True)
        needed = max(map(cell_len, whats)) + 2 + max(map(cell_len, commands))
        yield table if needed <= options.max_width else Group(*below)


@dataclass(frozen=True)
class _Continued:
    """A command that goes on behind a backslash where the window ends, so that a shell takes what is copied."""

    command: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        lines = [""]
        for word in spelled_out(self.command).split(" "):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if lines[-1] and cell_len(longer) > options.max_width - len("  ") - len(" \\"):
                lines.append(word)
            else:
                lines[-1] = longer
        yield hanging("  ", Text(" \\\n".join(lines)))


def verdict_view(record: RunRecord) -> RenderableType:
    """The verdict in a box."""
    top = wording.headline(record)
    color = _COLORS[top.tone]
    lines = [Text(top.sentence, style="bold")]
    if top.proof:
        lines.append(safe_text(top.proof))
    if top.ended:
        lines.append(safe_text(top.ended, "dim"))
    if note := wording.made_note(record):
        lines.append(safe_text(note, "dim"))
    if note := wording.destination_note(record):
        lines.append(safe_text(note))
    if record.replayed:
        lines.append(Text(wording.replayed_note(record.run_id), style="yellow"))
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


def _line_view(sign: str, place: EditPlace, changed: str, style: str) -> RenderableType:
    line = safe_text(place.left, "dim") + safe_text(changed, style) + safe_text(place.right, "dim")
    return hanging(sign, line, style.removeprefix("bold "))


def hanging(sign: str, text: Text, style: str = "") -> RenderableType:
    """A text behind a sign; lines that are broken begin under the text, not under the sign."""
    grid = Table.grid()
    grid.add_column(width=cell_len(sign), no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(sign, style=style), text)
    return grid


def rows_view(rows: ComparedRows) -> RenderableType:
    """Rows that got worse beside rows that got better."""
    where = "held-out" if rows.split == "test" else f"search ({rows.split})"
    title = f"\n{where.capitalize()} examples: {len(rows.worse)} worse, {len(rows.better)} better, {rows.same} the same"
    sides = _row_list("Got worse", "red", rows.worse), _row_list("Got better", "green", rows.better)
    shown = _SideBySide(*sides) if rows.worse and rows.better else Group(*(sides[:1] if rows.worse else sides[1:]))
    return Group(Text(title, style="bold"), *([shown] if rows.worse or rows.better else []))


@dataclass(frozen=True)
class _SideBySide:
    """Two parts side by side, or one below the other in a narrow window."""

    left: RenderableType
    right: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if options.max_width < _WIDE:
            yield Group(self.left, Text(), self.right)
            return
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        table.add_row(self.left, self.right)
        yield table


def _row_list(title: str, color: str, rows: Sequence[ComparedRow]) -> RenderableType:
    lines: list[RenderableType] = [Text(f"{title}: {len(rows)}", style=color)]
    for row in rows[:_SHOWN_ROWS]:
        scores = f"  {wording.points(row.before.score)} → {wording.points(row.after.score)}"
        lines.append(safe_text(row.example_id, "bold", 60) + Text(scores, style="dim"))
        if row.inputs:
            inputs = "; ".join(map(value_text, row.inputs.values()))
            lines.append(hanging("  ", safe_text(inputs, limit=_SHOWN_TEXT)))
        if row.expected:
            lines.append(hanging("  ", safe_text("expected: " + value_text(row.expected), "dim", _SHOWN_TEXT)))
        if row.before.output is not None or row.after.output is not None:
            told = f"{value_text(row.before.output)} → {value_text(row.after.output)}"
            lines.append(hanging("  ", safe_text(told, "dim", _SHOWN_TEXT)))
    if len(rows) > _SHOWN_ROWS:
        lines.append(Text(f"… {len(rows) - _SHOWN_ROWS} more", style="dim"))
    return Group(*lines)


def usage_view(record: RunRecord) -> RenderableType:
    """Calls, tokens and money by role."""
    columns = ("role", "model", "calls", "input tokens", "output tokens", "cost")
    rows = []
    for u in (*record.usage, record.total):
        rows.append(
            (
                u.role,
                wording.name_in_identity(str(record.started.models.get(u.role, ""))),
                wording.number(u.calls),
                wording.number(u.input_tokens),
                wording.number(u.output_tokens),
                wording.money(u.usd),
            )
        )
    return Group(Text("\nWhat it cost", style="bold"), table_view(columns, rows, numbers=range(2, 6)))


def sides_view(by_side: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Calls, tokens and money of the two sides of a comparison."""
    columns = ("side", "calls", "input tokens", "output tokens", "cost")
    rows = []
    for side, used in by_side.items():
        rows.append(
            (
                side,
                wording.number(used["calls"]),
                wording.number(used["input_tokens"]),
                wording.number(used["output_tokens"]),
                wording.money(used["usd"]),
            )
        )
    return Group(Text("\nWhat it cost", style="bold"), table_view(columns, rows, numbers=range(1, 5)))


def table_view(columns: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Sequence[int] = ()) -> RenderableType:
    """A plain table of values from outside.

    A column in which no row has anything is left out. Where the window is too narrow, each row becomes a few lines of
    name and value.

    Args:
        columns: The heads of the columns.
        rows: One value a column each.
        numbers: Indices of the columns that are aligned to the right, from 0.
    """
    kept = []
    for i in range(len(columns)):
        if not rows or any(_shown(row[i]) for row in rows):
            kept.append(i)
    right = frozenset(kept.index(i) for i in numbers if i in kept)
    cells = []
    for row in rows:
        cells.append(tuple(row[i] for i in kept))
    return _Columns(tuple(columns[i] for i in kept), tuple(cells), right)


def _shown(cell: Any) -> str:
    return spelled_out(value_text(cell))


@dataclass(frozen=True)
class _Columns:
    """A table that fits itself to the width it is drawn in."""

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    numbers: frozenset[int]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = []
        for i, name in self._numbered:
            widths.append(max(cell_len(_shown(cell)) for cell in (name, *self._column(i))))
        # Ids and numbers are not broken over lines; texts can be, down to some words.
        short = [width <= _SHORT_CELL for width in widths]
        needed = sum(w if s else min(w, _SHORT_CELL) for w, s in zip(widths, short, strict=True)) + 2 * len(widths) - 2
        yield self._table(widths, short) if needed <= options.max_width else self._stacked()

    @property
    def _numbered(self) -> list[tuple[int, str]]:
        return list(enumerate(self.names))

    def _column(self, i: int) -> list[Any]:
        return [row[i] for row in self.rows]

    def _table(self, widths: Sequence[int], short: Sequence[bool]) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        for i, name in self._numbered:
            width = widths[i] if short[i] else min(widths[i], _SHORT_CELL)
            justify: JustifyMethod = "right" if i in self.numbers else "left"
            table.add_column(name, justify=justify, overflow="fold", no_wrap=short[i], min_width=width)
        for row in self.rows:
            table.add_row(*map(safe_text, row))
        return table

    def _stacked(self) -> RenderableType:
        parts: list[RenderableType] = []
        for row in self.rows:
            grid = Table.grid(padding=(0, 2))
            for name, cell in zip(self.names, row, strict=True):
                if _shown(cell):
                    grid.add_row(Text(name, style="dim"), safe_text(cell))
            parts += [*([Text()] if parts else []), grid]
        return Group(*parts)


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


def test_view(outcome: str, metrics: Sequence[MetricEntry], void: str) -> RenderableType:
    """The gate's table under its verdict.

    Args:
        outcome: The outcome of the run, as "no_gain".
        metrics: Entries of the gate's table, the primary first; none where there is no verdict.
        void: What to say of a test without a verdict; "" where the test was not opened.
    """
    cells = list(map(wording.metric_cells, metrics))
    levels = {c.interval.partition(" (")[2].removesuffix(")") for c in cells} - {""}
    level = levels.pop() if len(levels) == 1 else ""  # one for all stands in the head
    columns = ("metric", "old", "new", "change", f"{level} interval".strip(), "better / worse", "verdict")
    rows = []
    for c in cells:
        interval = c.interval.removesuffix(f" ({level})")
        rows.append([c.name, c.old, c.new, c.difference, interval, c.moves, c.verdict])
    said = wording.proof(metrics[0]) if metrics else void or "The held-out examples were not opened."
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
            shown = ", ".join(map(value_text, value)) if isinstance(value, list | tuple) else value_text(value)
            parts.append(label + Text("  ") + safe_text(shown))
    return Group(*parts)
