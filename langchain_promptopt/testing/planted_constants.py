"""Every number of the planted-fault world, in one place (docs/design/003-planted-world.md).

They were fixed before anything was measured with them. A bench that varies one names it in its table.
"""

from __future__ import annotations

from dataclasses import dataclass

TOP_EASY = 0.99
"""Chance of a right answer on an easy row when all it needs stands in the prompt."""
TOP_HARD = 0.75
"""The same on a hard row."""
HARD_SHARE = 0.3
"""Share of hard rows."""
LUCK_WRONG = 0.10
"""Factor on that chance for each needed rule that is wrong."""
LUCK_MISSING = 0.30
"""Factor for each needed rule that is missing: a model knows a little by itself."""
WORDING = 0.3
"""Share of (prompt, row) pairs whose luck depends on the wording rather than on the row alone."""
OLD_FRAME = 0.45
"""Factor when the whole prompt is written in the wrong frame."""
MIXED_FRAME = 0.30
"""Factor when good and wrong frame stand side by side: the valley that small edits cannot cross."""
PURE = 0.9
"""Share of sentences from which on a frame counts as the frame of the whole."""

TOPICS_IN_ROW = (0.35, 0.45, 0.20)
"""Chance that a row needs one, two or three rules."""
FREQUENCY_SHIFT = 12
"""Topic i stands in rows with weight 1 / (i + this): some rules matter more than others."""
FAULT_KINDS = {"value": 0.5, "topic": 0.25, "phrase": 0.25}
"""A wrong value, a wrong topic, or a garbled stretch of words."""

LIFT_BY_REASONS = 0.3
"""Share of what skill lacks that a turn of reasons makes up for."""
WITHOUT_ERRORS = 0.5
"""Factor on skill where only rows without answers are shown."""
BLAME = 0.7
"""Chance that an error which is not understood is blamed on an innocent sentence."""
MEDDLE = 0.5
"""Chance that a marked place without a known fault gets another value."""
MISWRITE = 0.25
"""Share of what skill lacks at which a place that was understood still gets a wrong value."""
LEAVE_OUT = 0.15
"""Chance, at temperature 1, that a reply leaves a place as it is: what makes repeated replies differ."""
KNOWLEDGE = 0.03
"""Chance that a fault no row shows is mended all the same in one reply."""
REWORD = 0.3
"""Chance that a rewrite puts a sentence into other words."""
MANGLE = 0.33
"""Share of the drop rate at which a rewrite spoils a sentence instead of dropping it."""
RECALL = 0.5
"""Chance that a rule missing here is taken over from an earlier prompt that is shown and scored no worse."""
ALLOWED_FREELY = 100
"""Words of stated allowance at which a rewrite is as careless as without one."""
HEAT = 0.7
"""Temperature at which carelessness is as stated; it grows in proportion to half of the excess."""
COLLATERAL = 1.0
"""Factor on the drop rate for each further sentence word inside a mark."""

ROWS = {"train": 100, "dev": 100, "test": 400}
"""Rows of each split (PE2's sizes for MultiArith, spec 1.1)."""


@dataclass(frozen=True)
class WorldSettings:
    """What a bench may vary.

    Args:
        words: Length of the good prompt: 5, 50 or 500 words.
        faults: Planted faults; None takes one for each two, three or six sentences by length.
        rewrite: The world in which only a full rewrite helps.
        skill: Chance that the optimizer understands a fault which an error shows.
        drop_rate: Chance for each sentence to be lost in a rewrite.
        label_noise: Share of rows with a wrong expected answer.
        shuffled: Expected answers drawn at random for each row: no prompt is better than another.
        temperature: Factor on the temperatures the recipe asks for.
    """

    words: int = 500
    faults: int | None = None
    rewrite: bool = False
    skill: float = 0.6
    drop_rate: float = 0.03
    label_noise: float = 0.05
    shuffled: bool = False
    temperature: float = 1.0


LOCAL_LONG = WorldSettings()
"""Local faults in a long prompt."""
LOCAL_MEDIUM = WorldSettings(words=50)
"""Local faults in a prompt of usual length."""
LOCAL_SHORT = WorldSettings(words=5)
"""A prompt so short that one mark can cover it."""
REWRITE = WorldSettings(words=50, rewrite=True)
"""A full rewrite is needed: local must lose."""
WORLDS: dict[str, WorldSettings] = {
    "long": LOCAL_LONG,
    "medium": LOCAL_MEDIUM,
    "short": LOCAL_SHORT,
    "rewrite": REWRITE,
}
