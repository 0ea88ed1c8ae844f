"""One Protocol per decision (axes A1..A14 of algorithms 5.2, and A8b). The ports to the outside stand in `ports`.

Laws: strategies are frozen values without state; given the same arguments, the same replies and
the same `rng` they answer the same; they never see the test split. Each has a conformance class
in `langchain_promptopt.testing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from langchain_core.embeddings import Embeddings
    from langchain_core.runnables import Runnable, RunnableConfig

    from langchain_promptopt.types import (
        Allowance,
        Attempt,
        Batch,
        Candidate,
        Draft,
        Edit,
        Example,
        PromptSet,
        Rejection,
        Remembered,
        ScopeName,
        Shown,
        Stop,
        Trajectory,
        Workpiece,
    )


def rng_at(seed: int, *place: str | int) -> Random:
    """Randomness with an address, so that no draw shifts another (style H10)."""
    return Random("/".join(map(str, (seed, *place))))


def _unheard(refused: Iterable[Rejection]) -> None:
    """The default of `Ask.refused`: refused replies are not counted."""


@dataclass(frozen=True)
class Turn:
    """The place of a proposal in its search.

    Args:
        batch: Number of its batch among those of the parent, from 0.
        reason: Number of the reason it follows, from 0.
        stalled: Steps since the best score last rose.
        astray: Whether marks so far have helped no more than chance would.
        unusable: Rewrites of the whole prompt that were asked for in vain; 0 once one of them could be used.
    """

    batch: int = 0
    reason: int = 0
    stalled: int = 0
    astray: bool = False
    unusable: int = 0

    @property
    def first_of_parent(self) -> bool:
        """Whether what is done once per parent is done here."""
        return self.batch == self.reason == 0


async def _embed_directly(embeddings: Embeddings, texts: Sequence[str]) -> list[list[float]]:
    """Vectors outside a run, where no cost is booked."""
    return await embeddings.aembed_documents(list(texts))


@dataclass(frozen=True)
class Ask:
    """The right to call the optimizer model at one address; `at` gives narrower addresses.

    `model` is a Runnable from messages to an AIMessage: metered, journaled and retried. `refused`
    takes refused replies where a strategy cannot return them. `embed` gives vectors of texts:
    in a run each text is embedded once, and its cost is booked. `metaprompts` holds the user's texts by
    the name of the meta-prompt that each replaces.
    """

    model: Callable[[tuple[str | int, ...]], Runnable[Any, Any]]
    config: RunnableConfig
    seed: int
    place: tuple[str | int, ...] = ()
    refused: Callable[[Iterable[Rejection]], None] = _unheard
    turn: Turn = Turn()
    embed: Callable[[Embeddings, Sequence[str]], Awaitable[list[list[float]]]] = _embed_directly
    metaprompts: Mapping[str, str] = field(default_factory=dict)

    def at(self, *place: str | int) -> Ask:
        """The same right at a narrower address."""
        return replace(self, place=(*self.place, *place))

    def at_reason(self, number: int) -> Ask:
        """The same right for what follows from one reason of several."""
        return replace(self.at(number), turn=replace(self.turn, reason=number))

    def runnable(self) -> Runnable[Any, Any]:
        """The model bound to this address."""
        return self.model(self.place)

    def rng(self, *place: str | int) -> Random:
        """Randomness of this address."""
        return rng_at(self.seed, *self.place, *place)


class Seeding(Protocol):
    """A1. Where the first candidates come from."""

    async def seeds(self, seed: Candidate, train: Sequence[Example], ask: Ask) -> tuple[Candidate, ...]:
        """The first candidates; the user's own prompt is always added by the engine.

        Args:
            seed: The user's own prompt.
            train: All rows of the train split.
            ask: Calls the optimizer model, and draws randomness.
        """
        ...


class Evidence(Protocol):
    """A2. Which rows a proposal is shown."""

    def wanted(
        self, ids: Sequence[str], rng: Random, before: Mapping[str, tuple[float, ...]] | None = None
    ) -> tuple[str, ...]:
        """Train rows the parent must be run on first; () when no outcomes are needed (G9).

        Args:
            ids: Ids of all train rows, in their order.
            rng: Randomness of this step and this parent.
            before: Train scores by row id: the parent's, then those of its ancestors, nearest first. None where none
                is known.
        """
        ...

    def batches(self, rows: Sequence[Shown], bare: Sequence[Shown], m: int, rng: Random) -> tuple[Batch, ...]:
        """At most `m` batches of the parent's `rows`, or of `bare` rows without outcomes; () when nothing is wrong.

        Args:
            rows: Train rows the parent was run on, with its answers and scores.
            bare: All train rows, without answers.
            m: How many batches are asked for.
            rng: Randomness of this step and this parent.
        """
        ...


class Reflection(Protocol):
    """A3. What is said about the evidence before proposing."""

    async def reflect(self, piece: Workpiece, ask: Ask) -> tuple[Workpiece, ...]:
        """The piece with feedback and turns added; several where each reason is followed by itself."""
        ...


class Memory(Protocol):
    """A4. Which past attempts the proposer may learn from."""

    async def retrieve(self, trajectory: Trajectory, around: Attempt, ask: Ask) -> tuple[Remembered, ...]:
        """At most k members of the trajectory in display order; an empty trajectory gives ().

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            around: The attempt that the proposal starts from.
            ask: Calls the optimizer model at an address of this proposal, and draws randomness there.
        """
        ...


class Scope(Protocol):
    """A5. Which text may change."""

    @property
    def name(self) -> ScopeName:
        """How events and recipes call it."""
        ...

    async def resolve(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """The piece with `spans` set (None for global). An empty tuple skips the proposal."""
        ...


class Control(Protocol):
    """A6. How much may change at step t of T (t from 1)."""

    def allowance(self, t: int, total: int) -> Allowance:
        """Words allowed, and how that is used."""
        ...


class Refinement(Protocol):
    """A7. How children are written."""

    async def propose(self, piece: Workpiece, ask: Ask) -> Workpiece:
        """The piece with `drafts` and `rejections` added; text changes only inside `spans` when set."""
        ...


class Proposals(Protocol):
    """A8. How many children, and which are kept before scoring."""

    @property
    def per_parent(self) -> int:
        """Batches m per parent."""
        ...

    @property
    def per_call(self) -> int:
        """Children k per batch."""
        ...

    @property
    def keeps_all(self) -> bool:
        """True when `prune` never drops a child, so that evaluation may start at once."""
        ...

    async def augment(self, piece: Workpiece, refine: Refinement, ask: Ask) -> Workpiece:
        """The piece with paraphrases of its drafts added, inside the same area.

        Args:
            piece: The proposal, with the drafts written so far.
            refine: The recipe's strategy for writing children (A7).
            ask: Calls the optimizer model at an address of this proposal, and draws randomness there.
        """
        ...

    def prune(self, fresh: Sequence[Candidate], parent: Attempt, rng: Random) -> tuple[Candidate, ...]:
        """At most r children of one parent.

        Args:
            fresh: Children of one parent that were not tried before.
            parent: The attempt they were made from.
            rng: Randomness of this step and this parent.
        """
        ...


class TrainBench(Protocol):
    """What trials may do: run candidates on train rows, make a child of other edits, refuse one."""

    @property
    def parent(self) -> Candidate:
        """The prompt that the children were made from."""
        ...

    def known(self, candidate: Candidate) -> Mapping[str, float]:
        """Primary train scores already there, by example id."""
        ...

    def claim(self, rows: int) -> bool:
        """Set aside the calls for so many rows; False where the budget does not bear them."""
        ...

    async def evaluate(self, candidate: Candidate, example_ids: Sequence[str]) -> Mapping[str, float]:
        """Primary scores of these train rows; rows dropped by infrastructure are missing."""
        ...

    def join(self, edits: tuple[Edit, ...], *, proposals: int = 1) -> Candidate | None:
        """The child that these edits of the parent make, or None where a guard refuses it.

        Args:
            edits: They neither overlap nor touch.
            proposals: How many proposals they come from. Several may together change as much as each of them
                might, and their places are recorded first, as those of an identification of their own.
        """
        ...

    def refuse(self, rule: str, detail: str) -> None:
        """Record that a child does not go on."""
        ...

    @property
    def stalled(self) -> int:
        """Steps since the best score last rose."""
        ...

    @property
    def remembered(self) -> Mapping[Candidate, float]:
        """Children of the parent that earlier steps remembered, with their gains."""
        ...

    def remember(self, child: Candidate, gain: float) -> None:
        """Keep a child in mind for later steps from the same parent."""
        ...


Family: TypeAlias = "Sequence[tuple[Batch, Sequence[Candidate]]]"
"""The children of one parent by the batch that each was made from."""


class Trials(Protocol):
    """A8b. Which children of one parent go on to dev, after a try on train rows."""

    def rows(self, batch: Batch) -> int:
        """Most train rows that a child of this batch is run on; 0 where nothing is tried."""
        ...

    def passing(self, children: int) -> int:
        """Of so many children of one parent, how many a step must be able to score on dev."""
        ...

    async def sift(self, family: Family, bench: TrainBench) -> tuple[Candidate, ...]:
        """The children that go on; the only new ones are children of their edits joined."""
        ...


@dataclass(frozen=True)
class NoTrials:
    """Children go on to dev without a trial on train rows."""

    def rows(self, batch: Batch) -> int:  # noqa: ARG002
        """None."""
        return 0

    def passing(self, children: int) -> int:
        """All of them."""
        return children

    async def sift(self, family: Family, bench: TrainBench) -> tuple[Candidate, ...]:  # noqa: ARG002
        """All of them."""
        found: list[Candidate] = []
        for _, children in family:
            found.extend(children)
        return tuple(found)


@dataclass(frozen=True)
class GuardContext:
    """What guards may know besides parent and draft; `examples` are all rows of train and dev."""

    piece: Workpiece
    scope: ScopeName
    known_ids: frozenset[str]
    examples: Sequence[Example] = ()


class Guards(Protocol):
    """A9. Which drafts become candidates."""

    def check(self, parent: PromptSet, draft: Draft, context: GuardContext) -> Rejection | None:
        """None to accept, else the rule that refuses.

        Args:
            parent: The prompts that the draft was made from.
            draft: The child's prompts and the edits that make it.
            context: What else a rule may look at: scope, allowance, known candidates, rows.
        """
        ...


class Bench(Protocol):
    """What scoring may do: evaluate candidates on dev rows, cached and metered."""

    @property
    def examples(self) -> Sequence[str]:
        """Ids of the dev rows in their fixed, shared order."""
        ...

    def known(self, candidate: Candidate) -> Mapping[str, float]:
        """Primary scores already there, by example id."""
        ...

    async def evaluate(self, candidate: Candidate, example_ids: Sequence[str]) -> Mapping[str, float]:
        """Primary scores of these rows; rows dropped by infrastructure or withheld by the budget are missing."""
        ...

    def withheld(self, candidate: Candidate) -> bool:
        """Whether the budget did not reach for all rows asked of this candidate."""
        ...

    def rng(self, *place: str | int) -> Random:
        """Randomness of this step."""
        ...


class Scoring(Protocol):
    """A10. How dev rows are spent on fresh candidates."""

    @property
    def eager(self) -> bool:
        """True when every fresh candidate gets all rows, so evaluation may start at once."""
        ...

    def least(self, rows: int) -> int:
        """Of `rows` dev rows, how many a fresh candidate sees at the least: what a step must be able to pay."""
        ...

    async def score(
        self, fresh: Sequence[Candidate], incumbents: Sequence[Attempt], bench: Bench
    ) -> tuple[Attempt, ...]:
        """Attempts for `fresh` (and for incumbents that were measured further), in their order.

        Args:
            fresh: New candidates, not yet scored on dev.
            incumbents: Attempts kept from the step before.
            bench: Runs candidates on dev rows, within the budget.
        """
        ...

    def comparable(self, attempts: Sequence[Attempt], leader: Attempt) -> tuple[Attempt, ...]:
        """The attempts with scores that may be ranked beside the leader's, whichever rows each has seen."""
        ...


@runtime_checkable
class PartialScoring(Scoring, Protocol):
    """A scoring that runs the baseline on a part of the dev rows first, and a leader on the rest where that is due."""

    @property
    def still(self) -> int:
        """Steps without gain after which a leader chosen on few rows and the one before it are measured again."""
        ...

    def first(self, rows: int) -> int:
        """Of `rows` dev rows, how many the baseline is run on before the first step."""
        ...

    async def catch_up(self, attempts: Sequence[Attempt], bench: Bench) -> tuple[Attempt, ...]:
        """These attempts on every row, as far as the budget reaches."""
        ...


@dataclass(frozen=True)
class Selection:
    """What a search kept; `dropped` maps candidate id to the reason."""

    kept: tuple[Attempt, ...]
    dropped: Mapping[str, str] = field(default_factory=dict)


class Search(Protocol):
    """A11. Which attempts are expanded, and which survive a step."""

    def parents(self, trajectory: Trajectory, kept: Sequence[Attempt], t: int, rng: Random) -> tuple[Attempt, ...]:
        """Attempts to expand at step t.

        Args:
            trajectory: All attempts so far, in the order in which they were made.
            kept: Attempts kept from the step before, the one to go on from first.
            t: Number of the step, from 1.
            rng: Randomness of this step.
        """
        ...

    def admit(self, kept: Sequence[Attempt], fresh: Sequence[Attempt], t: int, incumbent: Incumbent) -> Selection:
        """The survivors of step t.

        Args:
            kept: Attempts kept from the step before, the one to go on from first.
            fresh: Attempts scored in this step.
            t: Number of the step, from 1.
            incumbent: The rule by which a new attempt may replace an old one (A12).
        """
        ...


class Incumbent(Protocol):
    """A12. When a challenger may replace the best so far."""

    def accepts(self, challenger: Attempt, incumbent: Attempt) -> bool:
        """Whether `challenger` takes the place of `incumbent`."""
        ...


@dataclass(frozen=True)
class Progress:
    """What stopping may know after step t."""

    t: int
    best: tuple[Attempt, ...]
    """The best attempt after each step, seed first."""
    dev_val: tuple[tuple[float, float], ...] = ()
    """(dev, val) score of the best after each step, where val exists."""
    train_errors: int | None = None
    """Errors of the best attempt among the train rows of its last evidence; None where it was run on none."""
    dev_size: int = 0
    limited: bool = False
    """Whether the run has a budget: then a search goes on as long as gains can be expected."""
    open_errors: int = 0
    """Train rows that the best attempt fails, estimated from those it was run on."""
    shown: int = 0
    """Errors shown to the optimizer model since the best last rose, each time counted."""


class Stopping(Protocol):
    """A13. When to end the search."""

    def total(self, n_train: int) -> int:
        """The step limit T for that many train rows (a control schedule needs it).

        Under a budget every gain grants T further steps.
        """
        ...

    def reason(self, progress: Progress) -> Stop | None:
        """Why to stop now, or None."""
        ...


class Final(Protocol):
    """A14. Which attempt goes to the gate."""

    @property
    def top(self) -> int:
        """How many attempts to confirm on val; 0 decides on dev."""
        ...

    def pick(self, trajectory: Trajectory, val: Mapping[str, Mapping[str, float]], seed_id: str) -> Attempt:
        """The winner; `val` maps candidate id to val scores by example (empty without val).

        Args:
            trajectory: All attempts so far, in the order in which they were made. The first is the user's own prompt.
            val: Val scores by candidate id, then by row id; empty without a val split.
            seed_id: Candidate id of the user's own prompt.
        """
        ...
