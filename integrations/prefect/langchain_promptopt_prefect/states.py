"""What an exit code means to Prefect: 0 and 3 complete, 5 is tried again, everything else fails at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prefect.client.schemas.objects import State

DONE = (0, 3)
"""Improved, and no proven gain: both are verdicts."""
AGAIN = 5
"""Models or platform were out of reach; the same step goes on where it stopped."""


class StepFailed(RuntimeError):  # noqa: N818 - reads like Prefect's states
    """A step ended without a verdict; `answer` is the machine output of `run_step`."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        error = answer["error"] or {}
        message = error.get("public") or error.get("message") or answer["outcome"]  # Prefect keeps and shows it
        super().__init__(f"exit code {answer['exit_code']}: {message}")
        self.answer = dict(answer)


class StepUnavailable(StepFailed):
    """Models or platform stayed out of reach; worth another try."""


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of a step that reached a verdict. Raises StepUnavailable for code 5, StepFailed for the others."""
    code = answer["exit_code"]
    if code in DONE:
        return answer
    raise StepUnavailable(answer) if code == AGAIN else StepFailed(answer)


def worth_retrying(task: Any, run: Any, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's signature
    """Whether Prefect should run a failed task again (`retry_condition_fn`)."""
    return isinstance(state.result(raise_on_failure=False), StepUnavailable)
