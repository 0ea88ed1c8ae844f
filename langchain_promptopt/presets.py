"""Named recipes over the axes: each published method as data (algorithms 5.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from langchain_promptopt.errors import RecipeError, did_you_mean
from langchain_promptopt.recipe import Recipe
from langchain_promptopt.strategies import (
    Bandit,
    Beam,
    BestDev,
    BestVal,
    Cosine,
    Elitist,
    Epochs,
    ErrorBatches,
    ErrorGroups,
    Fixed,
    FormatExamples,
    FreeWalk,
    FullDev,
    Global,
    Gradient,
    Greedy,
    Hedged,
    Induction,
    Lazy,
    Manual,
    NoControl,
    NoEvidence,
    NoFeedback,
    NoMemory,
    NotWorse,
    OnlyShorter,
    OwnEvidence,
    PairedGate,
    Paraphrased,
    PerParent,
    Pool,
    Race,
    RandomBatches,
    Reasoning,
    Recency,
    Refine,
    Relevance,
    Sections,
    Shorten,
    Shortest,
    Spans,
    Standard,
    Steps,
    Summary,
    TopByScore,
    TopEdits,
    Trim,
)
from langchain_promptopt.strategies.registry import METHODS, check_recipe

if TYPE_CHECKING:
    from collections.abc import Callable


def pe2() -> Recipe:
    """PE2: two errors a batch, two-step reasoning, back-tracking beam 4, 3 steps."""
    return Recipe(
        name="pe2",
        seeding=Manual(),
        evidence=ErrorBatches(size=2),
        feedback=Reasoning(),
        memory=NoMemory(),
        scope=Global(),
        control=NoControl(),
        refine=Refine(goal="edit", cap=50),
        proposals=PerParent(m=4, k=1),
        guards=Standard(cap=50),
        scoring=FullDev(),
        search=Beam(width=4, back_track=True),
        incumbent=Elitist(),
        stop=Steps(limit=3),
        final=BestVal(top=4),
        source="PE2 2311.05661",
    )


def pe2_hist() -> Recipe:
    """PE2 as GPO's authors read it: reasoning, recency and a fixed budget, greedy (GPO table 4)."""
    return replace(
        gpo(),
        name="pe2-hist",
        evidence=ErrorBatches(size=2),
        feedback=Reasoning(),
        memory=Recency(k=3),
        control=Fixed(start=50, end=50),
        source="PE2 as compared in GPO 2402.17564",
    )


def apo() -> Recipe:
    """APO / ProTeGi as released: 4 error groups, paraphrases, 14 children cut to 8, UCB, beam 4."""
    return replace(
        pe2(),
        name="apo",
        evidence=ErrorGroups(size=4, minibatch=64),
        feedback=Gradient(temperature=0.7),
        scope=Sections(),
        refine=Refine(goal="edit", temperature=0.7),
        proposals=Paraphrased(m=4, k=1, q=2, keep=8),
        guards=Standard(),
        scoring=Bandit(rule="ucb", c=1.0),
        search=Beam(width=4, back_track=False),
        stop=Steps(limit=6),
        source="APO 2305.03495, released code",
    )


def apo_pe2() -> Recipe:
    """APO as PE2's authors re-implemented it: a gradient instead of the two-step reasoning."""
    return replace(pe2(), name="apo-pe2", feedback=Gradient(), source="APO 2305.03495 in PE2's loop")


def ape() -> Recipe:
    """APE: 50 instructions induced from examples, the best on dev; one shot."""
    return replace(
        ape_iter(),
        name="ape",
        seeding=Induction(subsets=5, demos=5, each=10),
        refine=Refine(goal="generate"),
        guards=Standard(),
        stop=Steps(limit=0),
        final=BestDev(),
        source="APE 2211.01910",
    )


def ape_iter() -> Recipe:
    """Iterative APE of PE2's code: meaning-preserving variations of the best four, three times."""
    return replace(
        pe2(),
        name="ape-iter",
        evidence=NoEvidence(),
        feedback=NoFeedback(),
        refine=Refine(goal="paraphrase", cap=50),
        source="APE 2211.01910 in PE2's loop",
    )


def opro() -> Recipe:
    """OPRO: the best 20 by rising score and 3 fresh exemplars, 8 new instructions a step.

    Scores below 0.3 are hidden, as for its GPT scorers. Its fixed scoring subset of train is the dev split here.
    """
    return replace(
        gpo(),
        name="opro",
        evidence=RandomBatches(size=3),
        memory=TopByScore(k=20, threshold=0.3),
        control=NoControl(),
        search=Pool(),
        stop=Steps(limit=200),
        final=BestDev(),
        source="OPRO 2309.03409",
    )


def sgdm() -> Recipe:
    """GPO's SGD-with-momentum baseline: errors, a summarised trajectory, editing (GPO table 4)."""
    return replace(
        gpo(),
        name="sgdm",
        evidence=ErrorBatches(size=2),
        memory=Summary(),
        control=NoControl(),
        refine=Refine(goal="edit", temperature=1.0),
        stop=Epochs(count=3, batch=8),
        source="SGDM as compared in GPO 2402.17564",
    )


def gpo() -> Recipe:
    """GPO: relevance 3 by rising similarity, cosine 50 -> 10 words stated, generation, elitist."""
    return replace(
        pe2(),
        name="gpo",
        evidence=FormatExamples(size=3),
        feedback=NoFeedback(),
        memory=Relevance(k=3, order="ascending"),
        control=Cosine(start=50, end=10, mode="stated"),
        refine=Refine(goal="generate", temperature=1.0),
        proposals=PerParent(m=1, k=8),
        guards=Standard(),
        search=Greedy(),
        stop=Epochs(count=3, batch=8, patience=2),
        source="GPO 2402.17564, paper",
    )


def gpo_code() -> Recipe:
    """GPO as released: current prompt first, a walk that may go down, no plateau; our final choice."""
    return replace(
        gpo(),
        name="gpo-code",
        memory=Relevance(k=3, order="current_first"),
        incumbent=FreeWalk(),
        stop=Epochs(count=3, batch=8),
        source="GPO 2402.17564, released code",
    )


def lpo(base: Recipe, *, name: str | None = None) -> Recipe:
    """Any recipe, made local: the paper's whole change is the scope (LPO 2504.20355)."""
    return replace(base, name=name or f"lpo-{base.name}", scope=Spans(), source=f"LPO 2504.20355 on {base.name}")


def lpo_pe2() -> Recipe:
    """LPO on PE2."""
    return lpo(pe2())


def lpo_apo() -> Recipe:
    """LPO on APO (in PE2's loop, as in the paper)."""
    return lpo(apo_pe2(), name="lpo-apo")


def lpo_ape() -> Recipe:
    """LPO on iterative APE; marks need evidence, so errors are shown raw."""
    return replace(lpo(ape_iter()), name="lpo-ape", evidence=ErrorBatches(size=2))


def lpo_ape_blind() -> Recipe:
    """LPO on iterative APE without evidence: blind marks, the pure drop-in."""
    return lpo(ape_iter(), name="lpo-ape-blind")


def lpo_opro() -> Recipe:
    """OPRO made local: history is edits with what they gained, the parent is the best prompt."""
    return replace(lpo(opro()), memory=TopEdits(k=20), stop=Steps(limit=50))


def lpo_gpo() -> Recipe:
    """GPO made local: the cosine budget is spans of five words, enforced; errors instead of format examples.

    At most ceil(B_t / 5) marks at step t; `k_max` is that of the first step, so the schedule alone binds.
    """
    return replace(
        lpo(gpo()),
        evidence=ErrorBatches(size=2),
        scope=Spans(k_max=10),
        control=Cosine(start=50, end=10, mode="enforced", unit="spans"),
    )


def robust() -> Recipe:
    """The default: local edits, tried on the errors they answer, joined, then compared in a paired race."""
    return replace(
        lpo_apo(),
        name="robust",
        evidence=ErrorBatches(size=4, correct=2, sample=32),
        memory=Relevance(k=3, pool="all"),
        scope=Hedged(Spans(k_max=8), after=1, every=2),
        control=Cosine(start=50, end=10, mode="enforced"),
        refine=Refine(goal="edit"),
        proposals=PerParent(m=3, k=1),
        trials=OwnEvidence(most=6),
        guards=Standard(),
        scoring=Lazy(Race(first=16, beam=1, grow=1.5, z_ahead=1.6449, narrow=True)),
        search=Beam(width=1, back_track=True),
        incumbent=PairedGate(alpha=0.4),
        stop=Steps(limit=24, patience=10, least_errors=0, rounds=5),
        source="ours",
    )


def shorten() -> Recipe:
    """A shorter prompt: said in fewer words, or with text left out; the test must show that it is not worse."""
    return Recipe(
        name="shorten",
        seeding=Manual(),
        evidence=NoEvidence(),
        feedback=NoFeedback(),
        memory=NoMemory(),
        scope=Global(),
        control=NoControl(),
        refine=Shorten(),
        proposals=PerParent(m=6, k=1),
        guards=OnlyShorter(),
        scoring=NotWorse(),
        search=Trim(width=1),
        incumbent=Elitist(),
        stop=Steps(limit=24, patience=8, least_errors=0, rounds=0),
        final=Shortest(),
        source="ours",
    )


PRESETS: dict[str, Callable[[], Recipe]] = {
    "robust": robust,
    "lpo-apo": lpo_apo,
    "lpo-pe2": lpo_pe2,
    "gpo": gpo,
    "lpo-gpo": lpo_gpo,
    "pe2": pe2,
    "apo-pe2": apo_pe2,
    "apo": apo,
    "ape": ape,
    "ape-iter": ape_iter,
    "opro": opro,
    "sgdm": sgdm,
    "pe2-hist": pe2_hist,
    "gpo-code": gpo_code,
    "lpo-ape": lpo_ape,
    "lpo-ape-blind": lpo_ape_blind,
    "lpo-opro": lpo_opro,
    "shorten": shorten,
}
DEFAULT = "robust"


def paper(recipe: Recipe) -> Recipe:
    """The suffix `:paper`: echo, reply and audit instead of line, slots and strict."""
    if not isinstance(recipe.scope, Spans) or not isinstance(recipe.refine, Refine):
        msg = f"':paper' needs a local method, and {recipe.name!r} is not one"
        raise RecipeError(msg, mend="Use it as in 'lpo-pe2:paper'.")
    return replace(
        recipe,
        name=f"{recipe.name}:paper",
        scope=replace(recipe.scope, protocol="echo"),
        refine=replace(recipe.refine, protocol="reply", enforce="audit"),
    )


def _marked_by(recipe: Recipe, protocol: Literal["index", "quote"]) -> Recipe:
    scope = recipe.scope
    if isinstance(scope, Spans):
        scope = replace(scope, protocol=protocol)
    elif isinstance(scope, Hedged) and isinstance(scope.inner, Spans):
        scope = replace(scope, inner=replace(scope.inner, protocol=protocol))
    else:
        msg = f"':{protocol}' needs a local method, and {recipe.name!r} is not one"
        raise RecipeError(msg, mend=f"Use it as in 'robust:{protocol}' or 'lpo-pe2:{protocol}'.")
    return replace(recipe, name=f"{recipe.name}:{protocol}", scope=scope)


def indexed(recipe: Recipe) -> Recipe:
    """The suffix `:index`: marks as numbers of words, new texts in a second reply (spec 1.3)."""
    return _marked_by(recipe, "index")


def quoted(recipe: Recipe) -> Recipe:
    """The suffix `:quote`: marks as quoted words, new texts in a second reply (spec 1.3)."""
    return _marked_by(recipe, "quote")


_SUFFIXES: dict[str, Callable[[Recipe], Recipe]] = {"paper": paper, "index": indexed, "quote": quoted}


def recipe_of(method: str | Recipe) -> Recipe:
    """A Recipe by preset name (with an optional `:paper`, `:index` or `:quote`), or the Recipe itself.

    Raises RecipeError for an unknown name and for strategies that do not go together.
    """
    recipe = method if isinstance(method, Recipe) else _preset(method)
    check_recipe(recipe)
    return recipe


def _preset(method: str) -> Recipe:
    name, _, suffix = method.partition(":")
    if name not in PRESETS or suffix not in {"", *_SUFFIXES}:
        hint = did_you_mean(name, PRESETS)
        if name.lower() in METHODS:
            hint = f"{METHODS[name.lower()]} "
        msg = f"unknown method {method!r}"
        raise RecipeError(msg, mend=f"{hint}Known: {', '.join(PRESETS)}.")
    recipe = PRESETS[name]()
    return _SUFFIXES[suffix](recipe) if suffix else recipe
