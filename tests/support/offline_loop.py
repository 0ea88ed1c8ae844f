"""A small LPO search by hand: the real steps and the offline models, without the engine."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from langchain_promptopt.offline import OfflineOptimizerModel, OfflineTaskModel
from langchain_promptopt.steps import IdentifyTokens, LocalProposal, TextualGradient
from langchain_promptopt.types import Batch, Message, Prompt, PromptSet, Shown, Workpiece


@dataclass(frozen=True)
class Task:
    """Rows by split as (id, input, label), under one input column."""

    train: tuple[tuple[str, str, str], ...]
    dev: tuple[tuple[str, str, str], ...]
    test: tuple[tuple[str, str, str], ...]
    variable: str


def hits(task: Task, prompt: str, split: str) -> list[int]:
    """1 for each row answered with its label."""
    return [
        int(a == label) for a, (_, _, label) in zip(_answers(task, prompt, split), getattr(task, split), strict=True)
    ]


def _answers(task: Task, prompt: str, split: str) -> list[str]:
    model = OfflineTaskModel()
    return [
        model.answer([("human", prompt.replace(f"{{{task.variable}}}", text))]) for _, text, _ in getattr(task, split)
    ]


def search(task: Task, prompt: str, *, steps: int = 3, beam: int = 3, batches: int = 3, errors: int = 4) -> str:
    """The best prompt by dev after some steps of gradient, identify and propose."""
    kept, scores = [prompt], {prompt: sum(hits(task, prompt, "dev"))}
    for t in range(steps):
        for parent in kept[:beam]:
            for b in range(batches):
                for child in _children(task, parent, random.Random(f"{t}/{b}/{parent}"), errors):
                    scores.setdefault(child, sum(hits(task, child, "dev")))
        kept = sorted(scores, key=lambda p: (-scores[p], len(p), p))[:beam]
    return kept[0]


def _children(task: Task, prompt: str, rng: random.Random, errors: int) -> list[str]:
    shown = [
        Shown(i, {task.variable: text}, {"label": label}, answer, float(answer == label))
        for (i, text, label), answer in zip(task.train, _answers(task, prompt, "train"), strict=True)
    ]
    wrong = [s for s in shown if s.score < 1]
    right = [s for s in shown if s.score == 1]
    batch = Batch(tuple(rng.sample(wrong, min(errors, len(wrong)))), tuple(rng.sample(right, min(2, len(right)))))
    model = OfflineOptimizerModel()
    chain = TextualGradient(model=model, variant="pe2") | IdentifyTokens(model=model) | LocalProposal(model=model)
    piece = Workpiece(PromptSet((Prompt("main", (Message("human", prompt),)),)), batch)
    out = asyncio.run(chain.ainvoke(piece))
    return [d.prompts.prompts[0].messages[0].template for d in out.drafts]
