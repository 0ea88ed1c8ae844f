"""Runs the steps of a composite action on this machine, the way the Actions runner documents it.

Understood are what our two files use: `${{ inputs.x }}`, `${{ github.* }}`, `${{ steps.ID.outputs.x }}`,
`if: inputs.x != ''`, `env`, `working-directory`, `shell: bash`. Anything else is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
_TEST = re.compile(r"inputs\.([\w-]+) != ''")


@dataclass
class Ran:
    """What a job would see after the step `uses: ./action`."""

    code: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""


def run_action(folder: Path, workspace: Path, given: dict[str, str], github: dict[str, str], temp: Path) -> Ran:
    """Run the action in `folder` with the inputs `given`."""
    action = yaml.safe_load((folder / "action.yml").read_text())
    unknown = given.keys() - action["inputs"].keys()
    assert not unknown, f"unexpected inputs {unknown}"
    context: dict[str, str] = {f"github.{name}": value for name, value in github.items()}
    for name, about in action["inputs"].items():
        assert name in given or "default" in about or not about.get("required"), f"input {name} is required"
        context[f"inputs.{name}"] = given.get(name, _filled(str(about.get("default", "")), context))
    ran = Ran()
    assert action["runs"]["using"] == "composite"
    for number, one in enumerate(action["runs"]["steps"]):
        assert one.keys() <= {"name", "id", "if", "shell", "working-directory", "env", "run"}, one
        if "if" in one:
            wanted = _TEST.fullmatch(one["if"])
            assert wanted, one["if"]
            if not context[f"inputs.{wanted[1]}"]:
                continue
        files = {name: temp / f"{name}-{number}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        env = {**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_ACTION_PATH": str(folder)}
        env |= {name: str(path) for name, path in files.items()}
        env |= {name: _filled(value, context) for name, value in one.get("env", {}).items()}
        for path in files.values():
            path.touch()
        script = temp / f"step-{number}.sh"
        script.write_text(_filled(one["run"], context))
        assert one["shell"] == "bash"
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=workspace / _filled(one.get("working-directory", "."), context),
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        ran.log += done.stdout + done.stderr
        ran.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        for name, value in _outputs(files["GITHUB_OUTPUT"].read_text()).items():
            context[f"steps.{one.get('id')}.outputs.{name}"] = value
        ran.code = done.returncode
        if ran.code:
            break
    ran.outputs = {name: _filled(about["value"], context) for name, about in action["outputs"].items()}
    return ran


def _filled(text: str, context: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        assert name.split(".")[0] in {"inputs", "github", "steps"}, f"unknown expression {match[0]}"
        assert not name.startswith("inputs.") or name in context, f"no such input: {name}"
        return context.get(name, "")

    return _EXPRESSION.sub(value, str(text))


def _outputs(text: str) -> dict[str, str]:
    found: dict[str, Any] = {}
    lines = iter(text.splitlines())
    for line in lines:
        if "<<" in line.partition("=")[0]:
            name, mark = line.split("<<", 1)
            held = []
            while (more := next(lines)) != mark:
                held.append(more)
            found[name] = "\n".join(held)
        elif line:
            name, value = line.split("=", 1)
            found[name] = value
    return found
