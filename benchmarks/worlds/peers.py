"""Other optimizers in the worlds of this folder, with the same calls and the same proposals.

A proposal of the optimizer model is the same for all: it looks at rows, has the world's ideas about them, and writes
the whole prompt again, which loses or rewords sentences as for any preset that rewrites. GEPA, COPRO and MIPROv2 are
their packages' own, imported where they are run. COPRO and MIPROv2 show the model no errors, so their proposals come
from three train rows with their answers, as for presets that show examples alone. Promptim's loop is written here
after its README.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.worlds.optimizer import WorldOptimizer
from langchain_promptopt.bench.planted_optimizer import Asked
from langchain_promptopt.bench.world import prompts_of
from langchain_promptopt.types import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.worlds.world import World
    from langchain_promptopt.types import Example


class Spent(Exception):  # noqa: N818 - no error
    """The search calls are used up."""


@dataclass
class Task:
    """A world as a loop sees it: answers with scores, proposals, and a count of both.

    Args:
        world: The world.
        budget: Most answers.
    """

    world: World
    budget: int
    calls: int = 0
    proposals: int = 0
    seen: dict[str, list[float]] = field(default_factory=dict)
    optimizer: WorldOptimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = WorldOptimizer(self.world)

    def answers(self, text: str, examples: Sequence[Example]) -> list[tuple[str, float]]:
        """Answer and score of each example. Raises Spent where the calls do not reach."""
        if self.calls + len(examples) > self.budget:
            raise Spent
        self.calls += len(examples)
        name = Candidate(prompts_of(text)).id
        told = [self.world.answer(name, text, example) for example in examples]
        known = self.seen.setdefault(text, [])
        known += [score for _, score in told]
        return told

    @property
    def best(self) -> str:
        """The text with the highest mean so far; the start before any."""
        return max(self.seen, key=lambda text: sum(self.seen[text]) / len(self.seen[text]), default=self.world.start)

    def mean(self, text: str, examples: Sequence[Example]) -> float:
        """The mean score."""
        return sum(score for _, score in self.answers(text, examples)) / len(examples)

    def proposal(self, text: str, examples: Sequence[Example], scores: Sequence[float]) -> str:
        """The whole prompt again, after a look at the examples that were wrong; at all of them if none was.

        Args:
            text: The instructions.
            examples: What is shown.
            scores: The score of each.
        """
        self.proposals += 1
        shown = [(e, s) for e, s in zip(examples, scores, strict=True)]
        rows = [_row(e) for e, s in shown if s < 1.0]
        request = Asked(
            kind="global",
            goal="edit",
            prompt=text,
            opening="",
            errors=tuple(rows),
            formats=() if rows else tuple(_row(e) for e, _ in shown),
            history=(),
            reasoned=False,
            allowance=None,
            cap=None,
            k_max=5,
            w_max=None,
            marked="",
        )
        thought = self.world.rng("peer", "thought", self.proposals)
        return self.optimizer._rewritten(request, text, thought, self.world.rng("peer", "hand", self.proposals))


def _row(example: Example) -> Mapping[str, Any]:
    return {"inputs": dict(example.inputs), "expected": dict(example.outputs)}


# ---------------------------------------------------------------- GEPA


def gepa(task: Task) -> str:
    """`gepa.optimize` with its defaults: minibatches of 3, Pareto choice of the parent, no merge."""
    import gepa as package

    rows = task.world.rows
    found = package.optimize(
        seed_candidate={"main": task.world.start},
        trainset=list(rows["train"]),
        valset=list(rows["dev"]),
        adapter=_Adapter(task),
        max_metric_calls=task.budget,
        raise_on_exception=True,
        logger=_Silent(),
        seed=task.world.seed,
        stop_callbacks=[lambda state: state.total_num_evals + _NEXT > task.budget],
    )
    return str(found.best_candidate["main"])


_NEXT = 106
"""Calls of GEPA's next round: a minibatch before and after, and all dev rows where the child is better."""


class _Silent:
    def log(self, message: str) -> None:
        """GEPA tells of each round; nobody reads it here."""


class _Adapter:
    """How GEPA asks the world."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def evaluate(self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False) -> Any:  # noqa: FBT001, FBT002 - GEPA's signature
        """Answers and scores; the trace of an answer is its example and score.

        Args:
            batch: The examples.
            candidate: The texts by component.
            capture_traces: Whether traces are wanted.
        """
        from gepa import EvaluationBatch

        told = self.task.answers(candidate["main"], batch)
        traces = [(e, s) for e, (_, s) in zip(batch, told, strict=True)] if capture_traces else None
        return EvaluationBatch(outputs=[a for a, _ in told], scores=[s for _, s in told], trajectories=traces)

    def make_reflective_dataset(self, candidate: dict[str, str], evaluated: Any, components: list[str]) -> Any:  # noqa: ARG002
        """The traces.

        Args:
            candidate: The texts by component.
            evaluated: What `evaluate` gave.
            components: Which may change.
        """
        shown = [{"example": e, "score": s} for e, s in evaluated.trajectories]
        return dict.fromkeys(components, shown)

    def propose_new_texts(self, candidate: dict[str, str], dataset: Any, components: list[str]) -> dict[str, str]:  # noqa: ARG002
        """One proposal.

        Args:
            candidate: The texts by component.
            dataset: What `make_reflective_dataset` gave.
            components: Which may change.
        """
        shown = dataset["main"]
        return {
            "main": self.task.proposal(candidate["main"], [r["example"] for r in shown], [r["score"] for r in shown])
        }


# ---------------------------------------------------------------- DSPy


def copro(task: Task) -> str:
    """`dspy.COPRO` with its defaults, breadth 10 and depth 3: 30 prompts, each on as many dev rows as can be paid."""
    import dspy

    shown = _examples(task, "dev")[: task.budget // 30]
    compiled = dspy.COPRO(prompt_model=_proposer(task), metric=_metric, breadth=10, depth=3).compile(
        _program(task), trainset=shown, eval_kwargs={"num_threads": 1, "display_progress": False}
    )
    return str(compiled.predict.signature.instructions)


TRIALS = {500: 6, 1000: 16, 2000: 31}
"""Trials of MIPROv2: the most whose minibatches of 35 and evaluations on all dev rows fit the calls."""


def miprov2(task: Task) -> str:
    """`dspy.MIPROv2` for instructions alone: two prompts for three trials, minibatches of 35, all dev rows after 5."""
    import dspy

    lm = _proposer(task)
    trials = TRIALS[task.budget]
    optimizer = dspy.MIPROv2(
        metric=_metric,
        prompt_model=lm,
        task_model=lm,
        auto=None,
        num_candidates=trials * 2 // 3,
        num_threads=1,
        max_bootstrapped_demos=0,
        max_labeled_demos=0,
        seed=task.world.seed,
    )
    train, dev = _examples(task, "train"), _examples(task, "dev")
    compiled = optimizer.compile(_program(task), trainset=train, valset=dev, num_trials=trials)
    return str(compiled.predict.signature.instructions)


def _examples(task: Task, split: str) -> list[Any]:
    import dspy

    return [dspy.Example(row=row, text=row.inputs["text"]).with_inputs("row", "text") for row in task.world.rows[split]]


def _metric(example: Any, predicted: Any, trace: Any = None) -> float:  # noqa: ARG001 - DSPy's signature
    return float(predicted.score)


def _program(task: Task) -> Any:
    """A program of one predictor, which the world answers by the instructions of its signature."""
    import dspy

    class Program(dspy.Module):  # type: ignore[misc]  # not installed where types are checked
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict(dspy.Signature("text -> answer", task.world.start))

        def forward(self, row: Any, text: str) -> Any:  # noqa: ARG002 - as DSPy calls it
            ((answer, score),) = task.answers(self.predict.signature.instructions, [row])
            return dspy.Prediction(answer=answer, score=score)

    return Program()


def _proposer(task: Task) -> Any:
    """A model that fills the fields which DSPy asks for: an instruction is a proposal, made of the best so far."""
    import dspy

    class Proposer(dspy.BaseLM):  # type: ignore[misc]  # not installed where types are checked
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:  # noqa: ARG002
            wanted = str(messages[-1]["content"]).rpartition("Respond with the corresponding output fields")[2]
            fields = [name for name in re.findall(r"\[\[ ## (\w+) ## \]\]", wanted) if name != "completed"]
            replies = [_filled(task, fields) for _ in range(kwargs.get("n") or 1)]
            messages = [SimpleNamespace(content=text, tool_calls=None) for text in replies]
            choices = [SimpleNamespace(message=said, finish_reason="stop") for said in messages]
            return SimpleNamespace(choices=choices, usage={}, model="proposer")

    return Proposer("proposer", cache=False)


def _filled(task: Task, fields: Sequence[str]) -> str:
    said = {"proposed_prefix_for_output_field": "Answer:"}
    if "proposed_instruction" in fields:
        shown = task.world.rng("peer", "shown", task.proposals).sample(task.world.rows["train"], 3)
        said["proposed_instruction"] = task.proposal(task.best, shown, [1.0] * len(shown))
    return "\n\n".join(f"[[ ## {name} ## ]]\n{said.get(name, 'Nothing.')}" for name in (*fields, "completed"))


# ---------------------------------------------------------------- promptim


def promptim(task: Task) -> str:
    """Promptim's loop: after every batch of 40 train rows a new prompt; after every epoch all dev rows decide."""
    train, dev = task.world.rows["train"], task.world.rows["dev"]
    best = task.world.start
    try:
        top, epoch = task.mean(best, dev), 0
        while True:
            order = list(train)
            task.world.rng("promptim", epoch).shuffle(order)
            text = best
            for at in range(0, len(order), 40):
                batch = order[at : at + 40]
                text = task.proposal(text, batch, [s for _, s in task.answers(text, batch)])
            score = task.mean(text, dev)
            if score > top:
                best, top = text, score
            epoch += 1
    except Spent:
        return best


PEERS: Mapping[str, Callable[[Task], str]] = {"gepa": gepa, "promptim": promptim, "copro": copro, "miprov2": miprov2}


VERSIONS = {
    "gepa": "GEPA 0.1.4",
    "promptim": "promptim's loop, rewritten",
    "copro": "COPRO of DSPy 3.4.1",
    "miprov2": "MIPROv2 of DSPy 3.4.1",
}


def version_of(peer: str) -> str:
    """How a table names a peer."""
    return VERSIONS[peer]


def run_peer(world: World, peer: str, budget: int) -> dict[str, Any]:
    """One run: expected scores on the test rows, and what the search took.

    Args:
        world: The world.
        peer: A key of `PEERS`.
        budget: Most calls of the task model.
    """
    task = Task(world, budget)
    best = PEERS[peer](task)
    return {
        "start": world.held_out(world.prompts),
        "best": world.held_out(prompts_of(best)),
        "ceiling": world.held_out(prompts_of(world.good)),
        "calls": task.calls,
        "optimizer_calls": task.proposals,
        "steps": task.proposals,
        "stopped": "budget",
    }
