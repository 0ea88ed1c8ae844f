"""LLM judges stored in LangSmith, by name: their prompt is read from there and run here.

A judge has a prompt with the schema of its answer, a model, and a mapping from the example's fields to the
prompt's variables. Evaluators that are code are refused: code of a workspace is not executed on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_promptopt._langsmith.hub import Address, PromptHub, template_in
from langchain_promptopt.errors import EvaluatorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.prompts.base import BasePromptTemplate

PREFIX = "langsmith:"
_KEPT_AT = "/v1/platform/evaluators"

_COMMENTS = ("comment", "reasoning", "explanation", "reason")
_SIDES = {
    "input": "inputs", "inputs": "inputs", "output": "outputs", "outputs": "outputs",
    "reference": "reference_outputs", "referenceOutput": "reference_outputs", "reference_output": "reference_outputs",
    "reference_outputs": "reference_outputs", "expected": "reference_outputs",
}  # fmt: skip
_PROVIDERS = {
    "langchain_openai": "openai", "langchain_anthropic": "anthropic", "langchain_google_genai": "google_genai",
    "langchain_groq": "groq", "langchain_mistralai": "mistralai", "langchain_ollama": "ollama",
}  # fmt: skip


@dataclass(frozen=True)
class StoredJudge:
    """A workspace's judge, called as LangSmith calls evaluators. Judges with the same content are equal."""

    key: str
    commit: str
    mapping: Mapping[str, str]
    model_name: str
    chain: Any = field(repr=False, compare=False)
    variables: tuple[str, ...] = ()

    async def __call__(
        self, inputs: dict[str, Any], outputs: dict[str, Any], reference_outputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """The judge's scores of one example.

        Args:
            inputs: The example's inputs.
            outputs: The chain's answer.
            reference_outputs: The example's reference outputs.

        Returns:
            One result for each field of the judge's schema that is not a comment, in LangSmith's form.

        Raises:
            EvaluatorError: The example has no such field, or the reply has no score.
        """
        row = {"inputs": inputs, "outputs": outputs, "reference_outputs": reference_outputs}
        values = {name: _value(row, self.mapping.get(name, name), name, self.key) for name in self.variables}
        found = await self.chain.ainvoke(values)
        return _verdicts(found, self.key)


def stored(name: str, hub: PromptHub, model_of: Callable[[str | None], tuple[str, Any]]) -> StoredJudge:
    """The evaluator "langsmith:<name>".

    Args:
        name: Its name in the workspace, without the prefix.
        hub: The workspace's prompts.
        model_of: Turns the stored "provider:model" (None where none is stored) into a name and a model.

    Returns:
        The judge, at the commit it has now.

    Raises:
        EvaluatorError: There is no such evaluator, or only LangSmith can run it.
    """
    row = _find(hub, name)
    judge = row.get("llm_evaluator") or {}
    if not judge.get("prompt_repo_handle"):
        msg = f"the LangSmith evaluator {name!r} is code, which runs in LangSmith only"
        mend = "Copy its function into your project and name it as module:function."
        raise EvaluatorError(msg, mend=mend, key=name)
    place = Address("-", judge["prompt_repo_handle"], judge.get("commit_hash_or_tag") or "latest")
    commit = hub.commit_at(place)
    prompt = _prompt(hub, place, name)
    if commit is None or prompt is None:
        msg = f"the prompt {place.name!r} of the LangSmith evaluator {name!r} cannot be read"
        raise EvaluatorError(msg, mend="Open the evaluator in LangSmith and save it again.", key=name)
    model_name, model = model_of(_model(hub, place))
    keys = row.get("feedback_keys") or [name]
    return StoredJudge(
        key=str(keys[0]) if len(keys) == 1 else name,
        commit=commit.hash,
        mapping={str(k): str(v) for k, v in (judge.get("variable_mapping") or {}).items()},
        model_name=model_name,
        chain=prompt | model,
        variables=tuple(prompt.input_variables),
    )


def _find(hub: PromptHub, name: str) -> Mapping[str, Any]:
    what = f"looking for evaluator {name!r}"
    found = hub.service.ask(what, "GET", _KEPT_AT, params={"name_contains": name, "limit": 100})
    for row in found.get("evaluators") or ():
        if row.get("name") == name:
            match: Mapping[str, Any] = row
            return match
    like = found.get("evaluators") or hub.service.ask(what, "GET", _KEPT_AT, params={"limit": 100}).get("evaluators")
    names = ", ".join(sorted(str(row.get("name")) for row in like or ())) or "none"
    msg = f"the workspace has no evaluator {name!r}; it has {names}"
    raise EvaluatorError(msg, where=hub.service.client.api_url, mend="Check the name.", key=name)


def _prompt(hub: PromptHub, place: Address, name: str) -> BasePromptTemplate[Any] | None:
    commit = hub.commit_at(place)
    prompt = template_in(commit) if commit is not None else None
    if prompt is not None and not hasattr(prompt, "schema_"):
        msg = f"the prompt of the LangSmith evaluator {name!r} has no output schema, so its answer is not a score"
        raise EvaluatorError(msg, mend="Give the judge's prompt an output schema with a number in it.", key=name)
    return prompt


def _model(hub: PromptHub, place: Address) -> str | None:
    """The model stored beside a prompt, as "provider:model"."""
    path = f"/commits/{place.path}/{place.ref}"
    row = hub.service.find(f"reading the model of {place.name!r}", path, params={"include_model": "true"})
    last = ((row or {}).get("manifest") or {}).get("kwargs", {}).get("last") or {}
    bound = last.get("kwargs", {}).get("bound") or last
    given = bound.get("kwargs", {})
    model = given.get("model") or given.get("model_name")
    home = str((bound.get("id") or [""])[0])
    family = str((bound.get("id") or ["", "", ""])[-1]).removeprefix("Chat").lower()
    return f"{_PROVIDERS.get(home, family)}:{model}" if model else None


def _value(row: Mapping[str, Any], path: str, variable: str, key: str) -> Any:
    """The value at a path such as "input.question"."""
    side, *rest = path.split(".")
    found: Any = row.get(_SIDES.get(side, side))
    for part in rest:
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is None:
        msg = f"the judge {key!r} fills `{variable}` from {path!r}, which this example does not have"
        raise EvaluatorError(msg, mend="Correct the variable mapping in LangSmith.", key=key)
    return found


def _verdicts(found: Any, key: str) -> list[dict[str, Any]]:
    answer = found if isinstance(found, Mapping) else getattr(found, "__dict__", {})
    comment = next((str(answer[c]) for c in _COMMENTS if answer.get(c)), "")
    fields = {name: value for name, value in answer.items() if name not in _COMMENTS}
    if not fields:
        msg = f"the judge {key!r} gave no score: {found!r:.200}"
        raise EvaluatorError(msg, key=key)
    alone = len(fields) == 1
    return [
        {"key": key if alone else name, "comment": comment, ("value" if isinstance(value, str) else "score"): value}
        for name, value in fields.items()
    ]
