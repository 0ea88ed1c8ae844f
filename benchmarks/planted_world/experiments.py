"""The experiments of the planted world: which recipes, which worlds, which budgets. Data, no loops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_promptopt.bench.world import LOCAL_LONG, WORLDS, WorldSettings
from langchain_promptopt.presets import PRESETS, recipe_of
from langchain_promptopt.strategies.control import Cosine, Fixed, Linear, NoControl
from langchain_promptopt.strategies.evidence import ErrorBatches
from langchain_promptopt.strategies.memory import Importance, NoMemory, Recency, Relevance, Summary
from langchain_promptopt.strategies.proposals import NoFeedback, Refine
from langchain_promptopt.strategies.scope import Alternating, FixedSpans, RandomSpans, Spans
from langchain_promptopt.strategies.scoring import Bandit, FullDev, Lazy, Race, SuccessiveHalving, SuccessiveRejects
from langchain_promptopt.strategies.selection import Elitist
from langchain_promptopt.strategies.trials import KeepRight, NoTrials, OwnEvidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.recipe import Recipe

BUDGETS = (250, 500, 1000, 2000)
PAIRS = (("ape-iter", "lpo-ape"), ("apo-pe2", "lpo-apo"), ("pe2", "lpo-pe2"), ("opro", "lpo-opro"), ("gpo", "lpo-gpo"))
"""Global method and its local twin."""
OURS = frozenset({"robust", "lpo-opro", "lpo-gpo"})
"""Presets nobody has published; all others are loops of the literature."""


@dataclass(frozen=True)
class Arm:
    """One line of a table: a recipe in a world, at some budgets.

    Args:
        name: Shown in the table; "world / method" where an experiment has several worlds.
        recipe: What is run.
        world: Where it is run.
        budgets: Search calls of the runs.
        oracle: Mark the planted spans for it.
        against: Arm of the same experiment it is compared with, seed by seed.
    """

    name: str
    recipe: Recipe
    world: WorldSettings
    budgets: tuple[int, ...] = (1000,)
    oracle: bool = False
    against: str = ""


@dataclass(frozen=True)
class Experiment:
    """A table with its title, the reading it is for, and how many seeds it takes."""

    title: str
    says: str
    arms: tuple[Arm, ...] = field(repr=False)
    seeds: int = 20
    first: int = 0
    """The first of its seeds."""


def presets_table(worlds: tuple[str, ...] = tuple(WORLDS)) -> Experiment:
    """Every preset in every world at equal search calls."""
    arms = tuple(Arm(f"{w} / {m}", recipe_of(m), WORLDS[w], BUDGETS) for w in worlds for m in PRESETS)
    return Experiment("Presets at equal search calls", "which method to take with so many target calls", arms)


_RIVALS = ("lpo-apo", "lpo-pe2", "lpo-ape", "pe2", "pe2-hist", "apo", "apo-pe2")
"""The loops of the literature that come first anywhere in the table of presets."""


def half_the_calls() -> Experiment:
    """The default at half the calls of the loops that do best, on seeds of its own and more of them."""
    arms = [
        Arm(f"{w} / {m}", recipe_of(m), WORLDS[w], tuple(b // 2 for b in BUDGETS[1:]) if m == "robust" else BUDGETS[1:])
        for w in WORLDS
        for m in ("robust", *_RIVALS)
    ]
    says = "whether the default needs half the calls of the best published loop"
    return Experiment("Half the calls", says, tuple(arms), seeds=48, first=100)


def edit_words() -> Experiment:
    """Words in a mark: 3, 5, 10, unlimited (a sentence is no line in these prompts, so the limit binds)."""
    arms = tuple(
        Arm(f"{w or 'unlimited'} words", _edited(w), LOCAL_LONG, (2000,), against="" if w == 5 else "5 words")
        for w in (3, 5, 10, None)
    )
    return Experiment("Edit words", "how large a mark should be", arms)


def _edited(w_max: int | None) -> Recipe:
    return replace(recipe_of("lpo-pe2"), scope=Spans(w_max=w_max))


def local_global() -> Experiment:
    """Each host and its local twin, where faults are local and where they are not."""
    arms = tuple(
        Arm(f"{w} / {m}", recipe_of(m), WORLDS[w], (2000,), against="" if m == host else f"{w} / {host}")
        for w in ("long", "medium", "rewrite")
        for host, twin in PAIRS
        for m in (host, twin)
    )
    return Experiment("Local against global", "what the scope alone changes; in 'rewrite' local must lose", arms)


def controls() -> Experiment:
    """Marks by errors, at random, and on the planted faults themselves."""
    base = recipe_of("lpo-pe2")
    return Experiment(
        "Controls of identification",
        "whether marks matter: random below, oracle above",
        (
            Arm("identified", base, LOCAL_LONG),
            Arm("random_spans", replace(base, scope=RandomSpans()), LOCAL_LONG, against="identified"),
            Arm("oracle_spans", replace(base, scope=FixedSpans(())), LOCAL_LONG, oracle=True, against="identified"),
        ),
    )


def gpo_axes() -> Experiment:
    """R3 and R4: memory, schedule, warm-up, refinement and trajectory length of GPO."""
    base = recipe_of("gpo")
    control = {"fixed": Fixed(), "linear": Linear(), "cosine": Cosine()}
    changes: dict[str, dict[str, Any]] = {
        "no memory": {"memory": NoMemory()},
        "recency": {"memory": Recency()},
        "importance": {"memory": Importance()},
        "summary": {"memory": Summary()},
        "no control": {"control": NoControl()},
        **{n: {"control": c} for n, c in control.items() if n != "cosine"},
        **{f"{n}, warm-up 3": {"control": replace(c, warmup=3)} for n, c in control.items()},
        "editing": {"refine": Refine(goal="edit", temperature=1.0)},
        **{f"trajectory {k}": {"memory": Relevance(k=k)} for k in (1, 2, 5, 10)},
    }
    arms = [Arm("gpo", base, WORLDS["medium"], (2000,))]
    arms += [
        Arm(name, replace(base, **axes), WORLDS["medium"], (2000,), against="gpo") for name, axes in changes.items()
    ]
    return Experiment("GPO: memory, control, refinement, trajectory length", "R3 and R4 in direction", tuple(arms))


def temperatures() -> Experiment:
    """The optimizer's temperature when it writes."""
    arms = [
        Arm(f"{m} at {t:g}", replace(r, refine=replace(r.refine, temperature=t)), LOCAL_LONG)
        for m in ("robust", "lpo-pe2", "gpo")
        if isinstance((r := recipe_of(m)).refine, Refine)
        for t in (0.0, 0.4, 0.7, 1.0, 1.3)
    ]
    return Experiment("Optimizer temperature", "how hot to write", tuple(arms), 12)


_SWEEPS: Mapping[str, tuple[WorldSettings, ...]] = {
    "skill": tuple(replace(LOCAL_LONG, skill=v) for v in (0.15, 0.3, 0.6, 0.9)),
    "drop_rate": tuple(replace(LOCAL_LONG, drop_rate=v) for v in (0.0, 0.03, 0.1)),
    "label_noise": tuple(replace(LOCAL_LONG, label_noise=v) for v in (0.0, 0.05, 0.15, 0.3)),
    "words": tuple(replace(LOCAL_LONG, words=v) for v in (5, 50, 500)),
}


def sweeps(methods: tuple[str, ...] = ("robust", "lpo-apo", "lpo-pe2", "pe2", "gpo")) -> Experiment:
    """One factor at a time from the long world."""
    arms = []
    for name, worlds in _SWEEPS.items():
        for world in worlds:
            level = f"{name}={getattr(world, name):g}"
            arms += [
                Arm(f"{level} / {m}", recipe_of(m), world, against="" if m == "robust" else f"{level} / robust")
                for m in methods
            ]
    return Experiment("One factor at a time", "whether a method stays good when proposals are bad", tuple(arms))


def overfitting() -> Experiment:
    """R5: dev minus test at equal calls."""
    arms = tuple(
        Arm(f"{w} / {m}", recipe_of(m), WORLDS[w], against="" if m == "lpo-pe2" else f"{w} / lpo-pe2")
        for w in ("long", "medium")
        for m in ("lpo-pe2", "robust", "pe2", "gpo")
    )
    return Experiment("Dev-test gap", "R5 in direction: what dev promises too much", arms)


def options_table() -> Experiment:
    """Options of axes that no preset takes, each on the host it belongs to."""
    apo, lpo, world = recipe_of("apo-pe2"), recipe_of("lpo-pe2"), WORLDS["medium"]
    scoring: dict[str, Any] = {
        "race": Race(),
        "uniform": Bandit("uniform", rounds=4, samples=16),
        "ucb": Bandit("ucb", rounds=4, samples=16),
        "ucb-e": Bandit("ucb-e", rounds=4, samples=16),
        "successive rejects": SuccessiveRejects(budget=512),
        "successive halving": SuccessiveHalving(budget=512),
    }
    arms = [Arm("apo-pe2, full dev", apo, world)]
    arms += [
        Arm(f"apo-pe2, {name}", replace(apo, scoring=s), world, against="apo-pe2, full dev")
        for name, s in scoring.items()
    ]
    again: dict[str, Any] = {
        "global on a plateau": {"scope": Alternating(every=1)},
        "passing rows must pass": {
            "evidence": ErrorBatches(size=2, correct=2),
            "trials": KeepRight(),
        },
    }
    for w in ("long", "rewrite"):
        arms.append(Arm(f"{w} / lpo-pe2", lpo, WORLDS[w]))
        arms += [
            Arm(f"{w} / lpo-pe2, {name}", replace(lpo, **axes), WORLDS[w], against=f"{w} / lpo-pe2")
            for name, axes in again.items()
        ]
    return Experiment(
        "Options no preset takes", "what scoring rules and a global step on a plateau do", tuple(arms), 12
    )


def robust_parts() -> Experiment:
    """The default without each of its parts."""
    ours = recipe_of("robust")
    race = Race(first=16, beam=1, grow=1.5, z_ahead=1.6449, narrow=True)
    without: dict[str, dict[str, Any]] = {
        "trials on own errors": {"trials": NoTrials()},
        "each edit earning its place": {"trials": OwnEvidence(each=False)},
        "broken rows only weighed": {"trials": KeepRight(OwnEvidence())},
        "the race": {"scoring": FullDev()},
        "the lazy baseline": {"scoring": race},
        "the early end of a race": {"scoring": Lazy(replace(race, z_ahead=None))},
        "bounds that narrow": {"scoring": Lazy(replace(race, narrow=False))},
        "a sample of train": {"evidence": ErrorBatches(size=4, correct=2)},
        "the hedge": {"scope": Spans(k_max=8)},
        "the gradient": {"feedback": NoFeedback()},
        "the paired gate": {"incumbent": Elitist()},
    }
    arms = []
    for w in ("long", "medium", "rewrite"):
        arms.append(Arm(f"{w} / robust", ours, WORLDS[w], (500,)))
        arms += [
            Arm(f"{w} / without {part}", replace(ours, **axes), WORLDS[w], (500,), against=f"{w} / robust")
            for part, axes in without.items()
        ]
    return Experiment("What each part of `robust` does", "which parts earn their place", tuple(arms))


EXPERIMENTS = {
    "presets": presets_table,
    "half": half_the_calls,
    "local-global": local_global,
    "edit-words": edit_words,
    "controls": controls,
    "gpo": gpo_axes,
    "gap": overfitting,
    "sweeps": sweeps,
    "temperature": temperatures,
    "options": options_table,
    "robust-parts": robust_parts,
}
