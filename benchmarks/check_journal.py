"""Checks an exported journal for LOCAL and VARS, without a line of the package it judges.

    promptopt export RUN > run.jsonl
    python benchmarks/check_journal.py run.jsonl --frozen '## Refund policy[^#]*'

Every candidate is made again from its parent and its edits. Then:
  rebuilt    the text is the one the journal says it is, and each `old` stands where its edit says
  spans      with a local scope, each edit replaces exactly one span that one identification of its parent marked,
             or is, word for word, an edit of the winner of which the candidate keeps a part
  frozen     every stretch that `--frozen` (a regular expression, repeatable) finds in the baseline is still there
  variables  the same variables, as often as before, counted here by another reader than the package's
  reasons    each edit names a reason and rows of split train that were scored

Exit code 0 when nothing is wrong, 1 otherwise; 2 for a file that is no journal.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from string import Formatter

MUSTACHE = re.compile(r"\{\{\{.*?\}\}\}|\{\{.*?\}\}", re.S)
JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.S)


def variables(template: str, template_format: str) -> Counter:
    """Everything that is not literal text, with how often it stands there."""
    if template_format == "f-string":
        return Counter(name for _, name, _, _ in Formatter().parse(template) if name is not None)
    if template_format in {"mustache", "jinja2"}:
        return Counter((MUSTACHE if template_format == "mustache" else JINJA).findall(template))
    return Counter()


def texts_of(prompts: list) -> dict:
    """(prompt, message) -> (template, format, role)."""
    return {
        (p["name"], i): (m["template"], p["template_format"], m["role"])
        for p in prompts
        for i, m in enumerate(p["messages"])
    }


def spliced(template: str, edits: list) -> str:
    """The template with all edits made, last first, so that earlier offsets stay true."""
    for edit in sorted(edits, key=lambda e: (e["start"], e["end"]), reverse=True):
        found = template[edit["start"] : edit["end"]]
        if found != edit["old"]:
            return f"\0 at {edit['start']} stands {found!r}, not {edit['old']!r}"
        template = template[: edit["start"]] + edit["new"] + template[edit["end"] :]
    return template


class Check:
    """Counts what was looked at and collects what is wrong."""

    def __init__(self, frozen: list[str]) -> None:
        self.frozen = [re.compile(pattern, re.S) for pattern in frozen]
        self.seen: Counter = Counter()
        self.wrong: list[str] = []
        self.texts: dict[str, dict] = {}
        self.marked: dict[str, list[set]] = defaultdict(list)
        self.train: set[str] = set()
        self.keep: list[tuple] = []

    def read(self, event: dict) -> None:
        """Take one event of the journal, in order."""
        data, kind = event["data"], event["type"]
        if kind == "run.started":
            self.texts[data["seed_candidate_id"]] = texts_of(data["prompts"])
            self._note_frozen(self.texts[data["seed_candidate_id"]])
        elif kind == "scored" and data["split"] == "train":
            self.train.add(data["example_id"])
        elif kind == "identified":
            self.marked[data["candidate_id"]].append({place(s) for s in data["spans"]})
        elif kind == "proposed":
            self.proposed(data)

    def _note_frozen(self, texts: dict) -> None:
        for pattern in self.frozen:
            found = [(key, m.group()) for key, (text, _, _) in texts.items() for m in pattern.finditer(text)]
            if not found:
                self.wrong.append(f"frozen: {pattern.pattern!r} is nowhere in the baseline")
            self.keep += found

    def proposed(self, data: dict) -> None:
        """One candidate against its parent."""
        name, parent = data["candidate_id"], self.texts.get(data["parent_id"])
        told = texts_of(data["prompts"])
        self.seen["candidates"] += 1
        if parent is None:
            self.seen["written from nothing"] += 1
            self.texts[name] = told
            return
        self.seen["edits"] += len(data["edits"])
        made = {
            key: spliced(text, [e for e in data["edits"] if (e["prompt"], e["message"]) == key])
            for key, (text, _, _) in parent.items()
        }
        self.texts[name] = told
        if made != {key: text for key, (text, _, _) in told.items()}:
            self.wrong.append(f"rebuilt: candidate {name} is not its parent {data['parent_id']} with its edits")
        if data.get("part_of"):
            self._part(name, data)
        elif data["scope"] != "global":
            self._local(name, data)
        self._kept(name, parent, told)
        for edit in data["edits"]:
            if not edit["reason"].strip():
                self.wrong.append(f"reasons: an edit of {name} has none: {edit['old']!r} -> {edit['new']!r}")
            if not edit["example_ids"] or not set(edit["example_ids"]) <= self.train:
                self.wrong.append(f"reasons: an edit of {name} names no train rows: {edit['example_ids']}")

    def _local(self, name: str, data: dict) -> None:
        self.seen["local candidates"] += 1
        places = {place(e) for e in data["edits"]}
        if not any(places <= marked for marked in self.marked[data["parent_id"]]):
            self.wrong.append(f"spans: candidate {name} changes a place that no identification of its parent marked")

    def _part(self, name: str, data: dict) -> None:
        """Each edit's new words stand in the whole, where its old ones stood but for shifts by other edits."""
        self.seen["parts of a winner"] += 1
        whole = self.texts.get(data["part_of"], {})
        for edit in data["edits"]:
            text = whole.get((edit["prompt"], edit["message"]), ("",))[0]
            before = self.texts[data["parent_id"]][edit["prompt"], edit["message"]][0][: edit["start"]][-12:]
            if edit["new"] not in text or before[-1:] + edit["new"][:1] not in text:
                self.wrong.append(f"spans: an edit of {name} is none of {data['part_of']}: {edit['new']!r}")

    def _kept(self, name: str, parent: dict, told: dict) -> None:
        for key, (text, template_format, role) in parent.items():
            new, new_format, new_role = told[key]
            self.seen["templates"] += 1
            if (template_format, role) != (new_format, new_role):
                self.wrong.append(f"variables: candidate {name} changes format or role of message {key}")
            if variables(text, template_format) != variables(new, template_format):
                self.wrong.append(f"variables: candidate {name} has other variables in message {key}")
        for key, stretch in self.keep:
            self.seen["frozen stretches"] += 1
            if stretch not in told[key][0]:
                self.wrong.append(f"frozen: candidate {name} changed {stretch[:60]!r}")


def place(item: dict) -> tuple:
    """Where a span or an edit stands."""
    return item["prompt"], item["message"], item["start"], item["end"]


def main() -> int:
    """Read the journal and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("journal", help="what `promptopt export` printed, or a journal.jsonl")
    parser.add_argument("--frozen", action="append", default=[], metavar="REGEX")
    given = parser.parse_args()
    check = Check(given.frozen)
    with open(given.journal, encoding="utf-8") as lines:
        for line in lines:
            check.read(json.loads(line))
    if not check.texts:
        print("no run.started in this file", file=sys.stderr)
        return 2
    for what, count in sorted(check.seen.items()):
        print(f"{count:6d}  {what}")
    print(f"{len(check.wrong):6d}  violations")
    for line in check.wrong[:20]:
        print(line, file=sys.stderr)
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
