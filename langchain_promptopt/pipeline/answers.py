"""Machine output of a run that did not end with a result (product contract, 4 and 10.8)."""

from __future__ import annotations

from typing import Any

from langchain_promptopt._runtime.redact import message_of, redact
from langchain_promptopt.errors import Interrupted, PromptOptError, exit_code_of

_OUTCOMES = {4: "budget", 130: "interrupted", 143: "interrupted"}


def failure_json(error: BaseException) -> dict[str, Any]:
    """The keys of a finished run's answer, with `error` filled. No key and no header gets into it.

    >>> answer = failure_json(ValueError("oops"))
    >>> answer["outcome"], answer["exit_code"], answer["error"]["kind"]
    ('failed', 1, 'bug')
    """
    known = _known(error)
    code = exit_code_of(known)
    told = known.as_json()
    return {
        "outcome": _OUTCOMES.get(code, "failed"),
        "exit_code": code,
        "run_id": known.facts.get("run_id"),
        "replayed": False,
        "prompts": [],
        "test": [],
        "edits": [],
        "usage": known.facts.get("usage") or {},
        "warnings": [],
        "applied": False,
        "error": told | {name: redact(told[name]) for name in ("message", "public")},
    }


def _known(error: BaseException) -> PromptOptError:
    if isinstance(error, PromptOptError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped", mend="Run it again: it goes on where it stopped.")
    return PromptOptError(message_of(error))
