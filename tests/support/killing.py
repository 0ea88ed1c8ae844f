"""Runs that die: in a forked child, at a chosen journal line, by SIGKILL, by a full disk, or by a power cut."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support import online

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from langchain_promptopt import Result
    from tests.support.openai_server import OpenAIServer

PAID = frozenset({"scored", "called"})
FULL_DISK = 77
"""Exit code of a child whose journal did not fit."""


class DieAt:
    """An observer that kills its process after the n-th stored event."""

    def __init__(self, n: int) -> None:
        self.left = n

    def on_event(self, event: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], object]) -> int:
    """Do `work` in a forked child that leaves nothing behind; its exit code, or minus the signal that ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except OSError:
            code = FULL_DISK
        except BaseException as error:  # noqa: BLE001 - a child has no other way to say so
            code = getattr(error, "exit_code", 1)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@dataclass(frozen=True)
class Whole:
    """A run that nothing happened to: what the others are compared with."""

    facts: Mapping[str, Any]
    requests: int
    lines: list[bytes]


def facts(result: Result) -> dict[str, Any]:
    """What must be the same however often a run was interrupted."""
    usage = {k: v for k, v in result.usage.items() if k in {"calls", "input_tokens", "output_tokens", "search_calls"}}
    roles = {role: used["calls"] for role, used in result.usage["by_role"].items()}
    edits = [e.as_json() for e in result.edits]
    return {"outcome": result.outcome, "test": result.test, "best": result.best.id, "edits": edits, **usage, **roles}


def run_in(folder: Path, up: OpenAIServer, **more: Any) -> Result:
    """The tiny task with its record and openings in `folder`."""
    return online.run(up.base_url, runs_dir=folder, openings=folder / "openings.jsonl", **more)


def whole(folder: Path, up: OpenAIServer, **more: Any) -> Whole:
    """The uninterrupted run."""
    before = up.count
    result = run_in(folder, up, **more)
    assert result.folder is not None
    lines = (result.folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
    return Whole(facts(result), up.count - before, lines)


@dataclass(frozen=True)
class Recovered:
    """A killed and resumed run."""

    same: bool
    journaled: int
    """Replies that were on the journal at the kill."""
    asked_before: int
    asked_after: int
    whole: bool
    """Whether the journal has every line once, in order."""
    facts: Mapping[str, Any]
    journal: Path

    def paid_twice(self, plain: Whole) -> int:
        """Calls made again after the kill."""
        return self.asked_before + self.asked_after - plain.requests

    def sound(self, plain: Whole) -> bool:
        """Same result, nothing journaled asked again, and at most what was in flight paid twice."""
        in_flight = self.asked_before - self.journaled
        again = self.asked_after == plain.requests - self.journaled
        return self.same and self.whole and again and self.paid_twice(plain) <= in_flight


def settled(up: OpenAIServer) -> int:
    """The calls the server saw, once it has read all that a dead client had sent: they were in flight at the kill."""
    with urllib.request.urlopen(f"{up.url}/_kit") as reply:  # whoever came earlier is accepted by now
        reply.read()
    while up.connections:
        time.sleep(0.005)
    return up.count - 1  # without the question above


def killed_at(n: int, folder: Path, up: OpenAIServer, plain: Whole, **more: Any) -> Recovered:
    """Kill the run after its n-th event, resume it in another process of its own memory, compare."""
    before = up.count
    code = in_child(lambda: run_in(folder, up, observers=[DieAt(n)], **more))
    assert code == -signal.SIGKILL, f"the child ended with {code}"
    return resumed(folder, up, plain, settled(up) - before, **more)


def cut_at(size: int, folder: Path, up: OpenAIServer, plain: Whole, **more: Any) -> Recovered:
    """A power cut left the first `size` bytes of the journal; resume from there."""
    run_id = json.loads(plain.lines[0])["data"]["run_id"]
    (folder / run_id).mkdir(parents=True, mode=0o700)
    (folder / run_id / "journal.jsonl").write_bytes(b"".join(plain.lines)[:size])
    return resumed(folder, up, plain, 0, **more)


def full_disk_at(size: int, folder: Path, up: OpenAIServer, plain: Whole, **more: Any) -> Recovered:
    """The journal cannot grow past `size` bytes; resume when there is space again."""

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        run_in(folder, up, **more)

    before = up.count
    code = in_child(work)
    assert code == 5, f"the child ended with {code}"
    return resumed(folder, up, plain, settled(up) - before, **more)


def resumed(folder: Path, up: OpenAIServer, plain: Whole, asked_before: int, **more: Any) -> Recovered:
    """Go on with what is in `folder`."""
    journal = next(folder.glob("*/journal.jsonl"))
    paid = Counter(_types(journal))
    journaled = sum(paid[kind] for kind in PAID)
    before = up.count
    result = run_in(folder, up, **more)
    after = [json.loads(line) for line in journal.read_bytes().splitlines()]
    seen = Counter(e["type"] for e in after if e["type"] in PAID)
    planned = Counter(json.loads(line)["type"] for line in plain.lines if json.loads(line)["type"] in PAID)
    once = [e["seq"] for e in after] == list(range(1, len(after) + 1)) and seen == planned
    found = facts(result)
    return Recovered(found == plain.facts, journaled, asked_before, up.count - before, once, found, journal)


def _types(journal: Path) -> list[str]:
    """Types of the whole lines of a journal whose last one may be torn."""
    return [json.loads(line)["type"] for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
