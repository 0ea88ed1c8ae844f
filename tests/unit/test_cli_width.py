"""Nothing that the command line draws is wider than the terminal."""

from __future__ import annotations

import sys

import pytest
from rich.cells import cell_len

from langchain_promptopt.cli.app import run
from tests.support.journals import keep_improved_run
from tests.support.pipeline_task import write_task

RUN = "c0ffee12ab34cd56"
WIDTHS = (60, 80, 100, 140)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep_improved_run(tmp_path, RUN)
    return tmp_path


def drawn(capfd, monkeypatch, width, *args):
    monkeypatch.setenv("COLUMNS", str(width))
    code = run(args)
    out, err = capfd.readouterr()
    assert code in {0, 3}, err
    return out.splitlines()


def test_a_command_that_is_broken_is_still_one_for_a_shell(project, capfd, monkeypatch):
    lines = drawn(capfd, monkeypatch, 60, "show")
    start = next(i for i, line in enumerate(lines) if "--edits" in line)
    assert lines[start].endswith(" \\")
    joined = (lines[start][:-1] + lines[start + 1]).split()
    assert joined[:3] == ["promptopt", "apply", RUN]
    assert joined[-1] == "--force"


def test_a_file_that_cannot_be_written_is_one_line(project, capfd):
    (project / "folder.html").mkdir()
    assert run(["report", RUN, "--out", "folder.html"]) == 2
    err = capfd.readouterr().err
    assert "the file or folder cannot be used" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("args", [("show",), ("diff",), ("runs",), ("methods",), ("methods", "robust")])
def test_no_line_is_wider_than_the_terminal(project, capfd, monkeypatch, args):
    widest = {}
    for width in WIDTHS:
        lines = drawn(capfd, monkeypatch, width, *args)
        widest[width] = max(cell_len(line) for line in lines)
    assert all(widest[width] <= width for width in WIDTHS), widest


def test_a_box_keeps_its_border_on_every_line(project, capfd, monkeypatch):
    for width in WIDTHS:
        lines = drawn(capfd, monkeypatch, width, "show")
        box = lines[: next(i for i, line in enumerate(lines) if line.startswith("╰")) + 1]
        assert {cell_len(line) for line in box} == {width}
        assert all(line[0] + line[-1] in {"╭╮", "││", "╰╯"} for line in box)


def test_a_table_that_does_not_fit_becomes_lines_of_name_and_value(project, capfd, monkeypatch):
    wide, narrow = drawn(capfd, monkeypatch, 140, "runs"), drawn(capfd, monkeypatch, 60, "runs")
    assert len(wide) == 2
    assert [line.split()[0] for line in narrow][:3] == ["run", "started", "method"]
    for word in " ".join(wide).split():
        assert word in " ".join(narrow).split()


def test_remarks_and_errors_are_broken_between_words_for_a_terminal_alone(project, capfd, monkeypatch):
    missing = ("check", "prompt.txt", "--data", "there is no such file of examples in this folder.jsonl")
    for args in (missing, ("check", "--budget-of-the-run", "3")):
        assert run(args) == 2
        (whole,) = [line for line in capfd.readouterr().err.splitlines() if ("promptopt: " in line or "Error" in line)]
        with monkeypatch.context() as terminal:
            terminal.setattr(sys.stderr, "isatty", lambda: True)
            for width in WIDTHS:
                terminal.setenv("COLUMNS", str(width))
                assert run(args) == 2
                lines = capfd.readouterr().err.splitlines()
                assert max(map(cell_len, lines)) <= width
                assert whole in " ".join(lines)


def test_a_check_fits_and_a_pipe_gets_enough_columns(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path)
    args = ("check", "prompt.txt", "--data", "rows.jsonl", "--task-model", "offline", "--model", "offline",
            "--evaluator", "exact_match")  # fmt: skip
    for width in (60, 100):
        assert max(cell_len(line) for line in drawn(capfd, monkeypatch, width, *args)) <= width
    monkeypatch.delenv("COLUMNS")
    assert run(args) == 0
    assert 80 < max(cell_len(line) for line in capfd.readouterr().out.splitlines()) <= 110
