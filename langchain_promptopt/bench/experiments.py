"""The experiments of the planted world: which recipes, which worlds, which budgets. Data, no loops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from langchain_promptopt.presets import PRESETS, recipe_of
from langchain_promptopt.strategies.control import Cosine, NoControl
from langchain_promptopt.strategies.memory import NoMemory, Relevance
from langchain_promptopt.strategies.refine import Refine
from langchain_promptopt.strategies.scope import FixedSpans, RandomSpans, Spans
from langchain_promptopt.testing.planted_constants import LOCAL_LONG, WORLDS, WorldSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_promptopt.recipe import Recipe

BUDGETS = (250, 500, 1000, 2000)
PAIRS = (("ape-iter", "lpo-ape"), ("apo-pe2", "lpo-apo"), ("pe2", "lpo-pe2"), ("opro", "lpo-opro"), ("gpo", "lpo-gpo"))
"""Global method and its local twin."""


@dataclass(frozen=True)
class Arm:
    """One line of a table: a recipe in a world, at some budgets. `oracle` marks the planted spans for it."""

    name: str
    recipe: Recipe
    world: WorldSettings
    budgets: tuple[int, ...] = (1000,)
    oracle: bool = False


@dataclass(frozen=True)
class Experiment:
    """A table with its title and the reading it is for."""

    title: str
    says: str
    arms: tuple[Arm, ...] = field(repr=False)


def presets_table(worlds: tuple[str, ...] = ("long", "medium", "short", "rewrite")) -> Experiment:
    """Every preset in every world at equal search calls."""
    arms = tuple(Arm(f"{w} / {m}", recipe_of(m), WORLDS[w], BUDGETS) for w in worlds for m in PRESETS)
    return Experiment("Presets at equal search calls", "which method to take with so many target calls", arms)


def edit_words() -> Experiment:
    """Words in a mark: 3, 5, 10, unlimited (a sentence is no line in these prompts, so the limit binds)."""
    arms = tuple(
        Arm(f"{w or 'unlimited'} words", replace(recipe_of("lpo-pe2"), scope=Spans(w_max=w)), LOCAL_LONG, (2000,))
        for w in (3, 5, 10, None)
    )
    return Experiment("Edit words", "how large a mark should be", arms)


def local_global() -> Experiment:
    """Each host and its local twin, where faults are local and where they are not."""
    arms = tuple(
        Arm(f"{w} / {m}", recipe_of(m), WORLDS[w], (2000,))
        for w in ("long", "medium", "rewrite")
        for pair in PAIRS
        for m in pair
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
            Arm("random_spans", replace(base, scope=RandomSpans()), LOCAL_LONG),
            Arm("oracle_spans", replace(base, scope=FixedSpans(())), LOCAL_LONG, oracle=True),
        ),
    )


def gpo_axes() -> Experiment:
    """R3 and R4: memory, schedule and warm-up of GPO; trajectory length."""
    base, world = recipe_of("gpo"), WORLDS["medium"]
    arms = [
        Arm("gpo", base, world, (2000,)),
        Arm("no memory", replace(base, memory=NoMemory()), world, (2000,)),
        Arm("no control", replace(base, control=NoControl()), world, (2000,)),
        Arm("cosine, warm-up 3", replace(base, control=Cosine(start=50, end=10, warmup=3)), world, (2000,)),
    ]
    arms += [Arm(f"trajectory {k}", replace(base, memory=Relevance(k=k)), world, (2000,)) for k in (1, 2, 5, 10)]
    return Experiment("GPO: memory, control, trajectory length", "R3 and R4 in direction", tuple(arms))


def temperatures() -> Experiment:
    """The optimizer's temperature when it writes."""
    arms = [
        Arm(f"{m} at {t:g}", replace(r, refine=replace(r.refine, temperature=t)), LOCAL_LONG)
        for m in ("robust", "lpo-pe2", "gpo")
        if isinstance((r := recipe_of(m)).refine, Refine)
        for t in (0.0, 0.4, 0.7, 1.0, 1.3)
    ]
    return Experiment("Optimizer temperature", "how hot to write", tuple(arms))


_SWEEPS: Mapping[str, tuple[WorldSettings, ...]] = {
    "skill": tuple(replace(LOCAL_LONG, skill=v) for v in (0.15, 0.3, 0.6, 0.9)),
    "drop_rate": tuple(replace(LOCAL_LONG, drop_rate=v) for v in (0.0, 0.03, 0.1)),
    "label_noise": tuple(replace(LOCAL_LONG, label_noise=v) for v in (0.0, 0.05, 0.15, 0.3)),
    "words": tuple(replace(LOCAL_LONG, words=v) for v in (5, 50, 500)),
}


def sweeps(methods: tuple[str, ...] = ("robust", "lpo-apo", "lpo-pe2", "pe2", "gpo")) -> Experiment:
    """One factor at a time from the long world."""
    arms = [
        Arm(f"{name}={getattr(world, name):g} / {m}", recipe_of(m), world)
        for name, worlds in _SWEEPS.items()
        for world in worlds
        for m in methods
    ]
    return Experiment("One factor at a time", "whether a method stays good when proposals are bad", tuple(arms))


def overfitting() -> Experiment:
    """R5: dev minus test at equal calls."""
    arms = tuple(Arm(m, recipe_of(m), LOCAL_LONG) for m in ("robust", "lpo-pe2"))
    return Experiment("Dev-test gap", "R5 in direction", arms)


EXPERIMENTS = {
    "presets": presets_table,
    "edit-words": edit_words,
    "local-global": local_global,
    "controls": controls,
    "gpo": gpo_axes,
    "temperature": temperatures,
    "sweeps": sweeps,
    "gap": overfitting,
}
