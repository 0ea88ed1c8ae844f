"""What a wheel and a source distribution hold: built once, so in the campaign (building fetches the build backend)."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.support.shared_data import ROOT

PACKAGE = ROOT / "langchain_promptopt"


def shipped() -> set[str]:
    """Every file of the package that is not made by running it."""
    files = (f for f in PACKAGE.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    return {str(f.relative_to(ROOT)) for f in files}


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_wheel_and_sdist_hold_everything(tmp_path):
    command = [sys.executable, "-m", "build", "--outdir", tmp_path, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,), (source,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert shipped() <= names
    assert {n.split("/")[0].partition("-")[0] for n in names} == {"langchain_promptopt"}, "no tests, no examples"
    assert "promptopt = langchain_promptopt.cli:main" in entry_points
    assert any(n.endswith("licenses/LICENSE") for n in names)
    with tarfile.open(source) as archive:
        inside = {n.partition("/")[2] for n in archive.getnames()}
    assert shipped() <= inside
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "pyproject.toml"} <= inside
    assert any(n.startswith("tests/spec/") for n in inside)
    assert "benchmarks/check_journal.py" in inside


def test_the_files_that_are_no_code_are_where_the_code_looks():
    kinds = {name.rpartition(".")[2] for name in shipped()} - {"py"}
    assert kinds == {"typed", "txt", "jsonl", "html", "css", "js"}
    folders = {name.rpartition("/")[0] for name in shipped() if not name.endswith((".py", ".typed"))}
    assert folders == {f"langchain_promptopt/{f}" for f in ("metaprompts", "offline/demo", "report/templates")}
