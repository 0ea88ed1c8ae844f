"""Terminal faces, character for character, at four widths.

After a wanted change: WRITE_SNAPSHOTS=1 python -m pytest tests/unit/test_cli_snapshots.py, then read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.cells import cell_len

from langchain_promptopt.cli.app import run
from tests.support.journals import keep_improved_run

RUN = "c0ffee12ab34cd56"
WIDTHS = (60, 80, 100, 140)
FACES = {
    "show": ("show",),
    "diff": ("diff",),
    "runs": ("runs",),
    "watch": ("watch",),
}
KEPT = Path(__file__).with_name("snapshots")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keep_improved_run(tmp_path, RUN)
    return tmp_path


@pytest.mark.parametrize("face", FACES)
def test_a_face_is_as_it_was_and_no_wider_than_the_terminal(project, capfd, monkeypatch, face):
    def drawn():
        assert run(FACES[face]) in {0, 3}
        return capfd.readouterr().out

    assert_as_kept(face, monkeypatch, drawn)


def assert_as_kept(face, monkeypatch, drawn):
    """What `drawn` gives is no wider than each of the widths, and is what is kept under the name of the face."""
    shown = ""
    for width in WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        lines = [line.rstrip() for line in drawn().splitlines()]
        assert max(map(cell_len, lines)) <= width
        shown += f"===== {width} columns\n" + "".join(f"{line}\n" for line in lines)
    file = KEPT / f"{face}.txt"
    if os.environ.get("WRITE_SNAPSHOTS") == "1":
        KEPT.mkdir(exist_ok=True)
        file.write_text(shown, "utf-8")
    assert shown == file.read_text("utf-8")
