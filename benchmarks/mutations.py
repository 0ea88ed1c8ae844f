"""Break each guarantee of the product contract (section 7) by hand, and see a test of that guarantee turn red.

    python benchmarks/mutations.py                 # all, some minutes
    python benchmarks/mutations.py --only 6        # guarantee 6

Each mutant is one change to a temporary copy of the package; nothing in place is touched. The tests it
names are run on that copy. Prints one Markdown table; exit code 1 when a mutant lives, a change no longer
applies, or the tests are not green without any mutant.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("langchain_promptopt", "tests", "benchmarks", "pyproject.toml", "README.md")
RULES = "tests/spec/test_guarantees.py::"
UNIT = "tests/unit/"
ASKED = "known = self._journal.calls.get(key)\n        if known is not None:\n            usage, reply"
PUSHED = 'if not force:\n            self._require_proof("push")'


@dataclass(frozen=True)
class Mutant:
    """A guarantee, what the change does to it, where, and the test that must notice."""

    guarantee: int
    does: str
    file: str
    old: str
    new: str
    test: str

    @property
    def name(self) -> str:
        """Guarantee and deed, for test ids."""
        return f"{self.guarantee}: {self.does}"

    @property
    def source(self) -> Path:
        """The file it changes, where it is not changed."""
        return ROOT / "langchain_promptopt" / self.file


MUTANTS = (
    Mutant(
        1,
        "double blanks after the last edit collapse",
        "_text/spans.py",
        '        at = end\n    return "".join((*out, text[at:]))\n\n\ndef kept',
        '        at = end\n    return "".join((*out, text[at:].replace("  ", " ")))\n\n\ndef kept',
        "tests/spec/test_lpo_spans.py::test_a_child_keeps_every_character_outside_its_edits",
    ),
    Mutant(
        1,
        "the guard takes a child whose untouched text differs",
        "strategies/guards.py",
        "changed.get((old.name, i), ()), after.template",
        "changed.get((old.name, i), ()), before.spliced(changed.get((old.name, i), ())).template",
        UNIT + "test_strategies_guards.py::test_a_child_with_one_blank_less_is_refused",
    ),
    Mutant(
        1,
        "a splice trims the blank before an edit",
        "_text/spans.py",
        "out += [text[at:start], new]",
        "out += [text[at:start].rstrip(), new]",
        RULES + "test_7_1_LOCAL_text_outside_the_spans_and_frozen_text_is_kept_byte_for_byte",
    ),
    Mutant(
        1,
        "freeze= is read and forgotten",
        "optimizer/plan.py",
        "prompts = resolve_freeze(target.prompts, settings.freeze)",
        "resolve_freeze(target.prompts, settings.freeze)\n    prompts = target.prompts",
        UNIT + "test_optimize.py::test_frozen_text_is_never_touched",
    ),
    Mutant(
        2,
        "new variables pass the guard",
        "strategies/guards.py",
        'return Rejection("vars", f"prompt {old.name!r}: {refusal.rule}: {refusal.detail}")',
        "continue",
        UNIT + "test_strategies_guards.py::test_each_rule_has_its_id",
    ),
    Mutant(
        2,
        "literal braces of a model are not escaped",
        "_text/templates.py",
        'return text.replace("{", "{{").replace("}", "}}")',
        "return text",
        RULES + "test_7_2_VARS_no_candidate_has_another_variable",
    ),
    Mutant(
        3,
        "a winner that did not pass is written all the same",
        "optimizer/run.py",
        'or (how == "if_improved" and not result.gate_passed)',
        "",
        RULES + "test_7_3_in_place_only_on_success_and_back_byte_for_byte",
    ),
    Mutant(
        3,
        "revert puts nothing back",
        "_langchain/conversion.py",
        'object.__setattr__(thing, "__dict__", dict(state))',
        "pass",
        RULES + "test_7_3_in_place_only_on_success_and_back_byte_for_byte",
    ),
    Mutant(
        3,
        "candidates share one overlay for all tasks",
        "_langchain/overlay.py",
        '_ACTIVE: ContextVar[Overlay | None] = ContextVar("promptopt_overlay", default=None)',
        "class _Shared:\n    value = None\n    def get(self): return self.value\n"
        "    def set(self, new): self.value = new\n    def reset(self, token): pass\n_ACTIVE = _Shared()",
        UNIT + "test_langchain_target.py::test_candidates_never_mix",
    ),
    Mutant(
        4,
        "earlier openings do not count",
        "gate/statistics.py",
        "return alpha / (opening * (opening + 1))",
        "return alpha / 2",
        UNIT + "test_gate_planning.py::test_feasibility_falls_with_each_opening",
    ),
    Mutant(
        4,
        "p-values are a quarter of what they are",
        "gate/statistics.py",
        'return _agreeing(Comparison(1.0, lower, upper, ""), sign_flip_p(values), alpha, "sign test")',
        'return _agreeing(Comparison(1.0, lower, upper, ""), sign_flip_p(values) / 4, alpha, "sign test")',
        "tests/spec/test_gate_campaign.py::test_gate_rarely_passes_what_is_no_better",
    ),
    Mutant(
        4,
        "a candidate's crashes are left out in place of scoring 0",
        "gate/pairs.py",
        "value = outcome.scores.get(metric, None if outcome.failure is None else 0.0)",
        "value = None if outcome.failure is not None else outcome.scores.get(metric)",
        UNIT + "test_gate_rows.py::test_a_failure_of_the_prompt_scores_zero",
    ),
    Mutant(
        4,
        "a served model that changes mid-test is not noticed",
        "gate/pairs.py",
        "return max(len(baseline), len(candidate), len(both)) > self.models",
        "return False",
        UNIT + "test_gate_rows.py::test_a_model_that_changes_during_the_test_voids_it",
    ),
    Mutant(
        5,
        "calls of the optimizer are not booked",
        "_engine/executor.py",
        'total.append(self.book("optimizer", step, meter, usage))',
        "total.append(usage)",
        RULES + "test_7_5_ledger_counts_what_the_server_saw_and_a_budget_is_not_exceeded",
    ),
    Mutant(
        5,
        "a budget is over one call too late",
        "_runtime/ledger.py",
        "if getattr(used, name) >= limit:",
        "if getattr(used, name) > limit:",
        UNIT + "test_runtime_ledger.py::test_calls_are_never_exceeded_whatever_is_in_flight",
    ),
    Mutant(
        5,
        "the search may spend the test's share",
        "_runtime/ledger.py",
        "_NOTHING if testing else self._test_left()",
        "_NOTHING",
        UNIT + "test_runtime_ledger.py::test_the_search_cannot_spend_the_tests_share",
    ),
    Mutant(
        5,
        "an unknown price passes under a money budget",
        "_runtime/prices.py",
        "        if unknown:\n",
        "        if False:\n",
        UNIT + "test_engine_ledger.py::test_an_unknown_price_is_refused_before_a_call",
    ),
    Mutant(
        6,
        "journaled replies are asked for again",
        "_engine/context.py",
        ASKED,
        ASKED.replace("self._journal.calls.get(key)", "None"),
        RULES + "test_7_6_resume_after_kill_9_is_the_uninterrupted_run",
    ),
    Mutant(
        6,
        "a torn last line stays in the journal",
        "store/journal.py",
        "            self.recovered = len(line)\n            self._cut_back()\n",
        "            self.recovered = len(line)\n",
        UNIT + "test_store_journal.py::test_cut_at_every_byte",
    ),
    Mutant(
        6,
        "journaled scores are asked for again",
        "_engine/evaluations.py",
        "if (replayed := known.get(cell)) is not None:",
        "if (replayed := None) is not None:",
        RULES + "test_7_6_resume_after_kill_9_is_the_uninterrupted_run",
    ),
    Mutant(
        7,
        "an outage scores 0",
        "_runtime/failures.py",
        '"server_error": KindRow("retry",',
        '"server_error": KindRow("zero",',
        RULES + "test_7_7_an_outage_is_no_zero_score",
    ),
    Mutant(
        7,
        "dropped rows never stop a run",
        "_engine/evaluations.py",
        "if self._streak < _IN_A_ROW and not too_many:",
        "if True:",
        RULES + "test_7_7_an_outage_in_the_middle_of_a_run_stops_it",
    ),
    Mutant(
        7,
        "a baseline of all zeros goes on",
        "_engine/search.py",
        "if len(outcomes) < 2 or len(scores) != 1",
        "if True or len(scores) != 1",
        RULES + "test_7_7_a_baseline_of_all_zeros_stops_and_shows_a_row",
    ),
    Mutant(
        8,
        "traces are sent while tracing is off",
        "_langsmith/traces.py",
        "if enabled is not True:",
        "if enabled is None:",
        UNIT + "test_langsmith_offline.py::test_with_tracing_off_not_one_socket_is_opened",
    ),
    Mutant(
        8,
        "a prompt is pushed though the gate did not pass",
        "optimizer/result.py",
        PUSHED,
        PUSHED.replace("not force", "False"),
        UNIT + "test_langsmith_hub.py::test_without_a_passed_gate_nothing_is_pushed",
    ),
    Mutant(
        9,
        "randomness has no address",
        "protocols.py",
        'return Random("/".join(map(str, (seed, *place))))',
        "return Random()",
        RULES + "test_7_9_deterministic_whatever_the_concurrency",
    ),
    Mutant(
        9,
        "what is paid meanwhile decides whether work still fits the budget",
        "_runtime/ledger.py",
        "settled = self._settled if self._open else self._used() - self._test_paid",
        "settled = self._used() - self._test_paid",
        UNIT + "test_runtime_ledger.py::test_what_is_paid_meanwhile_changes_no_answer",
    ),
    Mutant(
        10,
        "a prompt may change its script",
        "_text/lint.py",
        "if ours and whole and ours != whole:",
        "if False:",
        UNIT + "test_text_guards.py::test_a_prompt_that_changed_script_as_a_whole_is_refused",
    ),
    Mutant(
        10,
        "the language is not looked at",
        "_text/lint.py",
        "        _foreign(said, parent_text, child_text),\n",
        "",
        RULES + "test_7_10_a_japanese_prompt_stays_japanese",
    ),
)


class Copy:
    """A temporary copy of the package and its tests in which mutants live one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    def is_red(self, mutant: Mutant) -> bool:
        """Whether the mutant's test fails with it. Raises ValueError when the change does not apply exactly once."""
        path = self.folder / "langchain_promptopt" / mutant.file
        whole = path.read_text(encoding="utf-8")
        if whole.count(mutant.old) != 1:
            msg = f"{mutant.file} holds the text to change {whole.count(mutant.old)} times: {mutant.old!r}"
            raise ValueError(msg)
        path.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
        try:
            return self.run([mutant.test]) == 1
        finally:
            path.write_text(whole, encoding="utf-8")

    def run(self, tests: Iterable[str]) -> int:
        """Pytest's exit code on these tests: 0 green, 1 red, others are no answer."""
        env = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("PYTEST_ADDOPTS", None)
        flags = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "timeout=900"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *flags, *dict.fromkeys(tests)],
            cwd=self.folder,
            env=env,
            capture_output=True,
            check=False,
            text=True,
        )
        self.said = done.stdout[-3000:] + done.stderr[-1000:]
        return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, default=0, help="mutants of this guarantee")
    given = parser.parse_args()
    chosen = [m for m in MUTANTS if given.only in (0, m.guarantee)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        if copy.run(m.test for m in chosen):
            print(f"The tests are not green without a mutant:\n{copy.said}")
            return 1
        print("\n| guarantee | what the mutant does | file | test that must turn red | red | s |")
        print("|---|---|---|---|---|---|")
        lived = 0
        for mutant in chosen:
            started = time.perf_counter()
            red = copy.is_red(mutant)
            lived += not red
            test = mutant.test.rpartition("/")[2].rpartition("::")[2]
            seconds = time.perf_counter() - started
            print(
                f"| {mutant.guarantee} | {mutant.does} | {mutant.file} | {test} | {'yes' if red else 'NO'} |"
                f" {seconds:.0f} |",
                flush=True,
            )
    print(f"\n{len(chosen)} mutants, {lived} lived.")
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main())
