"""The benchmark of whole runs with real models, with programs in the models' places behind a real server."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.real_models import end_to_end, tickets
from langchain_promptopt.steps.line_protocol import is_example
from tests.support.openai_server import serve

EXPECTED = {row["inputs"]["message"]: row["outputs"]["answer"] for row in tickets.examples()}
CHANGED = [(a, b) for a, b in zip(tickets.WRONG.splitlines(), tickets.RIGHT.splitlines(), strict=True) if a != b]


def obeys(messages) -> str:
    """The queue of the rules in the prompt: the wrong one where the rule of this queue is wrong."""
    prompt, _, message = messages[-1]["content"].rpartition("\n\nMessage: ")
    queue = EXPECTED[message]
    rule = next(line for line in tickets.RIGHT.splitlines() if line.endswith(f" to {queue}."))
    return f"{queue}." if rule in prompt else "praise"


class Mender:
    """Mends one rule after the other."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, messages) -> str:
        if is_example(messages[-1]["content"]):
            return "{}"
        old, new = CHANGED[self.asked % len(CHANGED)]
        self.asked += 1
        return json.dumps({"changes": [{"why": f"It says {old}", "line": 4, "old": old, "new": new}]})


def test_the_examples_are_known_and_shared_out_evenly():
    rows = tickets.examples()
    assert len({row["inputs"]["message"] for row in rows}) == 160
    for split, number in (("train", 5), ("dev", 5), ("test", 10)):
        queues = [row["outputs"]["answer"] for row in rows if row["split"] == split]
        assert {queues.count(queue) for queue in queues} == {number}
    assert len(CHANGED) == 4


@pytest.mark.parametrize(
    ("said", "score"),
    [("billing", 1.0), ("Billing.\n", 1.0), ("**billing**", 1.0), ("I think billing", 0.0), ("", 0.0)],
)
def test_an_answer_is_right_by_its_first_word(said, score):
    assert end_to_end.right_label({"output": said}, {"answer": "billing"}) == score


def test_a_run_is_written_down_once(tmp_path, monkeypatch, capsys):
    out = tmp_path / "runs.jsonl"
    with serve({"small": obeys, "large": Mender()}) as up:
        given = [up.base_url, "large", "--task-url", up.base_url, "--task", "small", "--methods", "lpo-pe2"]
        given += ["--seeds", "1", "--search-calls", "600", "--runs", str(tmp_path / "runs"), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["end_to_end", *given])
        end_to_end.main()
        asked = len(up.requests)
        end_to_end.main()
        assert len(up.requests) == asked, "a finished run is not made again"
    (line,) = [json.loads(text) for text in out.read_text("utf-8").splitlines()]
    assert line["repaired"] > 0
    assert line["result"]["outcome"] == "improved"
    assert f"{line['repaired']} of 4 rules" in capsys.readouterr().out


def test_examples_of_a_folder_take_the_place_of_the_tickets(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "signs"
    folder.mkdir()
    for split, many in (("train", 8), ("dev", 8), ("test", 8)):
        rows = []
        for n in range(many):
            rows.append({"inputs": {"sign": f"{split} {n}"}, "outputs": {"answer": "Yes" if n % 2 else "No"}})
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    out = tmp_path / "runs.jsonl"
    with serve({"small": lambda messages: "yes.", "large": lambda messages: '{"changes": []}'}) as up:
        given = [up.base_url, "large", "--task-url", up.base_url, "--task", "small", "--methods", "lpo-pe2"]
        given += ["--data", str(folder), "--prompt", "May one park here? Answer yes or no.\n{sign}"]
        given += ["--seeds", "1", "--search-calls", "60", "--runs", str(tmp_path / "runs"), "--out", str(out)]
        monkeypatch.setattr(sys, "argv", ["end_to_end", *given])
        end_to_end.main()
        assert any("May one park here" in json.dumps(sent) for sent in map(str, up.requests))
    (line,) = [json.loads(text) for text in out.read_text("utf-8").splitlines()]
    assert (line["data"], line["repaired"]) == ("signs", None)
    assert line["result"]["outcome"] != "improved"
    assert "of 4 rules" not in capsys.readouterr().out


def test_a_prompt_without_data_is_refused(tmp_path, monkeypatch, capsys):
    given = ["http://127.0.0.1:1", "m", "--task-url", "u", "--task", "t", "--prompt", "{x}"]
    monkeypatch.setattr(sys, "argv", ["end_to_end", *given, "--runs", str(tmp_path), "--out", str(tmp_path / "o")])
    with pytest.raises(SystemExit):
        end_to_end.main()
    assert "--data and --prompt go together" in capsys.readouterr().err
