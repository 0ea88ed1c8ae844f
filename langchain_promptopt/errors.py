"""Everything this package raises, in one tree.

    PromptOptError                  1   a bug of ours when raised bare
    |- UsageError                   2   what the caller gave cannot be used
    |  |- ConfigError                   promptopt.toml, flags, arguments
    |  |- RecipeError                   a method or a combination of axes
    |  |- PromptError                   a template: syntax, nothing to edit, not rendered by the chain
    |  |- DataError                     rows, splits, files, leakage
    |  |- EvaluatorError                an evaluator: signature, key, range
    |  |- CredentialsError              401, 403, 404
    |  |- PriceError                    a money budget without a price
    |  |- ConflictError                 the target was changed meanwhile
    |  `- ResumeError                   a run that cannot go on as asked
    |- BudgetSpent                  4   nothing left to spend before a verdict
    |- UnavailableError             5   models or platform out of reach; the run can be resumed
    |  |- TooManyFailures               `max_failure_rate`, or ten in a row
    |  `- RunBusy                       another process is at work on the same run
    `- Interrupted              130/143 stopped by a signal; the run can be resumed

Each message says what, where and how to mend it; the facts are attributes too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class PromptOptError(Exception):
    """Base of all errors of this package.

    Args:
        what: What is wrong, values included.
        where: The place: a file and line, a row, a prompt and character.
        mend: What to change so that it works.
        row_text: What a row says, told after `where`; `public` is the message without it.
        facts: Anything a program may want, kept on `facts`.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "bug"
    retryable: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str = "", mend: str = "", row_text: str = "", **facts: Any) -> None:
        self.what = what
        self.where = where
        self.row_text = row_text
        self.mend = mend
        self.role: str | None = facts.pop("role", None)
        self.retry_after_s: float | None = facts.pop("retry_after_s", None)
        self.facts: dict[str, Any] = facts
        super().__init__(self._message(row_text))

    @property
    def public(self) -> str:
        """The message for comments, logs and databases that are read by more people than the rows are."""
        return self._message(", whose text is left out here" if self.row_text else "")

    def _message(self, row_text: str) -> str:
        place = f" ({self.where}{row_text})" if self.where else ""
        tail = f" {self.mend}" if self.mend else ""
        return f"{self.what.rstrip('.')}{place}.{tail}"

    def amend(self, *, before: str = "", after: str = "") -> None:
        """Add to the message: `before` goes in front of what is wrong, `after` behind the mend."""
        self.what = f"{before}{self.what}"
        self.mend = f"{self.mend} {after}".strip()
        self.args = (self._message(self.row_text),)

    def retell(self, change: Callable[[str], str]) -> None:
        """Put what is wrong, and what a row says, through a function that takes texts of rows out of it."""
        self.what, self.row_text = change(self.what), change(self.row_text) if self.row_text else ""
        self.args = (self._message(self.row_text),)

    def as_json(self) -> dict[str, Any]:
        """The `error` object of machine output: role, kind, retryable, retry_after_s, message, public."""
        return {
            "role": self.role,
            "kind": self.kind,
            "retryable": self.retryable,
            "retry_after_s": self.retry_after_s,
            "message": str(self),
            "public": self.public,
        }


class UsageError(PromptOptError):
    """What the caller gave cannot be used; nothing was paid for."""

    exit_code = 2
    kind = "usage"


class ConfigError(UsageError):
    """A setting is unknown, missing or impossible."""

    kind = "config"


class RecipeError(UsageError):
    """A method is unknown, or its axes do not fit each other."""

    kind = "recipe"


class PromptError(UsageError):
    """A prompt template cannot be parsed, edited or rendered."""

    kind = "prompt"


class DataError(UsageError):
    """Rows, splits or files cannot be used as they are."""

    kind = "data"


class EvaluatorError(UsageError):
    """An evaluator cannot be called, or returned what cannot be a score."""

    kind = "evaluator"


class CredentialsError(UsageError):
    """A service refused the key, the permission or the name (401, 403, 404)."""

    kind = "credentials"


class PriceError(UsageError):
    """A money budget was set and a model's price is unknown."""

    kind = "price"


class ConflictError(UsageError):
    """The target was changed meanwhile; nothing was overwritten."""

    kind = "conflict"


class ResumeError(UsageError):
    """A run cannot be resumed or replayed as asked."""

    kind = "resume"


class BudgetSpent(PromptOptError):
    """The budget ended before there was a verdict."""

    exit_code = 4
    kind = "budget"


class UnavailableError(PromptOptError):
    """A model or platform stayed out of reach after all retries; resume when it is back."""

    exit_code = 5
    kind = "unavailable"
    retryable = True


class TooManyFailures(UnavailableError):
    """More evaluations failed than `max_failure_rate` allows, or ten in a row."""

    kind = "too_many_failures"


class RunBusy(UnavailableError):
    """Another process is at work on the same run; once it ends, the same step replays or resumes the run."""

    kind = "busy"


class Interrupted(PromptOptError):
    """The run was stopped by a signal; its journal is whole and it can be resumed."""

    exit_code = 130
    kind = "interrupted"
    retryable = True

    def __init__(self, what: str, *, signal: int = 2, **facts: Any) -> None:
        super().__init__(what, **facts)
        self.signal = signal

    @property
    def code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM."""
        return 128 + self.signal


def exit_code_of(error: BaseException) -> int:
    """The process exit code for `error` (product contract, section 4).

    >>> exit_code_of(DataError("no rows"))
    2
    >>> exit_code_of(ValueError("?"))
    1
    """
    if isinstance(error, Interrupted):
        return error.code
    if isinstance(error, PromptOptError):
        return error.exit_code
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def require(name: str, value: object, kinds: type[Any] | tuple[type[Any], ...], form: str) -> None:
    """Raise ConfigError, with the form to write, unless a value that a user gave is of these types.

    Args:
        name: How the user writes it, for the message.
        value: What was given.
        kinds: The types it may have.
        form: What to write.
    """
    if not isinstance(value, kinds):
        shown = repr(value)
        msg = f"{name} cannot be {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}"
        raise ConfigError(msg, mend=f"Write {form}.")


_SHOWN = 200
"""Characters of a wrong value that a message shows."""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that was probably meant, for error messages; None where no name is near.

    Args:
        name: What was given.
        known: The names there are.
        cutoff: How alike the names must be, from 0 (the nearest whatever it is) to 1 (the same).

    >>> nearest("trige", ["triage", "other"])
    'triage'
    """
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`Did you mean 'x'? ` for the nearest known name, or nothing.

    Args:
        name: What was given.
        known: The names there are.
        cutoff: How alike the names must be, from 0 (the nearest whatever it is) to 1 (the same).
    """
    near = nearest(name, known, cutoff)
    return f"Did you mean {near!r}? " if near is not None else ""


def _classes_here() -> dict[str, type[PromptOptError]]:
    found = {}
    for name, value in globals().items():
        if isinstance(value, type) and issubclass(value, PromptOptError):
            found[name] = value
    return found


BY_NAME: dict[str, type[PromptOptError]] = _classes_here()
"""These classes by their names, for errors that come from another process."""
