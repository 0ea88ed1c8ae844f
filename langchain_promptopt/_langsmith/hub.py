"""Prompts and LLM judges kept in LangSmith.

Prompts are pulled, committed on top of a known parent, and tagged. Nothing is ever overwritten.

A judge has a prompt with the schema of its answer, a model, and a mapping from the example's fields to the
prompt's variables; its prompt is read from LangSmith and run here. Evaluators that are code are refused: code of a
workspace is not executed on this machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langsmith.utils import LangSmithConflictError, parse_prompt_identifier

from langchain_promptopt._collections import without
from langchain_promptopt._langsmith.service import Service
from langchain_promptopt.errors import ConflictError, CredentialsError, EvaluatorError, PromptError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.prompts.base import BasePromptTemplate

_MESSAGE_LIMIT = 1000
"""Characters of a commit description, by the SDK's own account."""
_LOOK_BACK = 20
"""Newest commits among which a commit whose answer was lost is looked for."""


@dataclass(frozen=True)
class Commit:
    """A commit as the hub shows it. `manifest` is LangChain's serialization of the prompt."""

    id: str
    hash: str
    parent: str | None
    manifest: Mapping[str, Any]

    def same(self, manifest: Mapping[str, Any]) -> bool:
        """Whether it holds exactly this prompt."""
        return _canonical(self.manifest) == _canonical(manifest)


@dataclass(frozen=True)
class PushResult:
    """The result of a push: the commit that holds the prompt, and whether it is new."""

    commit: Commit
    fresh: bool


@dataclass(frozen=True)
class Address:
    """Where a prompt lives; `ref` is a tag, a hash or "latest"."""

    owner: str
    name: str
    ref: str = "latest"

    @property
    def path(self) -> str:
        """The middle of request paths."""
        return f"{self.owner}/{self.name}"


class PromptHub:
    """The prompt registry of one workspace."""

    def __init__(self, service: Service | None = None) -> None:
        self.service = service if service is not None else Service()

    def address(self, name: str) -> Address:
        """The place "name", "owner/name" or "owner/name:tag" means. Raises for another workspace's prompts."""
        try:
            owner, prompt, ref = parse_prompt_identifier(name)
        except ValueError:
            msg = f"{name!r} is not the name of a LangSmith prompt"
            raise UsageError(msg, mend='Write "owner/name" or "owner/name:tag".') from None
        if owner != "-" and owner != self.service.workspace.get("tenant_handle"):
            handle = self.service.workspace.get("tenant_handle") or "none"
            msg = f"prompt {name!r} belongs to {owner!r}, but the key belongs to a workspace with the handle {handle!r}"
            mend = (
                "A prompt of another workspace may contain code, so it is not loaded: pull it yourself and pass the "
                "object, or use your own handle."
            )
            raise CredentialsError(msg, where=self.service.client.api_url, mend=mend, role="langsmith")
        return Address("-", prompt, ref)

    def commit_at(self, address: Address) -> Commit | None:
        """The commit a reference means, or None where there is no such prompt or reference."""
        row = self.service.find(f"reading prompt {address.name!r}", f"/commits/{address.path}/{address.ref}")
        return None if row is None else _commit(row)

    def tags(self, address: Address) -> dict[str, str]:
        """Commit hash by tag."""
        rows = self.service.find(f"reading tags of {address.name!r}", f"/repos/{address.path}/tags")
        return {row["tag_name"]: row["commit_hash"] for row in rows or ()}

    def pull(self, name: str) -> BasePromptTemplate[Any]:
        """The live template; models kept beside a prompt are left out.

        Raises:
            CredentialsError: No such prompt or tag, or another workspace's.
            PromptError: What is there is no prompt template.
        """
        from langchain_core.prompts.base import BasePromptTemplate

        address = self.address(name)
        pulled = self.service.call(
            f"pulling prompt {name!r}",
            lambda: self.service.client.pull_prompt(f"{address.name}:{address.ref}", skip_cache=True),
        )
        if not isinstance(pulled, BasePromptTemplate):
            msg = f"{name!r} holds a {type(pulled).__name__}, not a prompt template"
            raise PromptError(msg, mend="Optimize a prompt; a model beside it is named with task.model.")
        return pulled

    def commit(
        self, address: Address, manifest: Mapping[str, Any], *, parent: Commit | None, message: str
    ) -> PushResult:
        """Commit a prompt on top of `parent`; a prompt that is the head already is left as it is.

        Args:
            address: The prompt; its `ref` is not used.
            manifest: The prompt in LangChain's serialization; see `manifest_of`.
            parent: The commit that must be the head; None where the prompt must not exist yet.
            message: The commit's description, cut at 1,000 characters.

        Raises:
            ConflictError: The head is another commit than `parent`.
        """
        head = self.commit_at(Address(address.owner, address.name))
        if head is not None and head.same(manifest):
            return PushResult(head, fresh=False)
        if (head.hash if head else None) != (parent.hash if parent else None):
            raise self.conflict(address, head)
        if head is None:
            self._create(address)
        return self._put(address, manifest, head, message)

    def _put(self, address: Address, manifest: Mapping[str, Any], parent: Commit | None, message: str) -> PushResult:
        above = parent.hash if parent else None
        body = {"parent_commit": above, "manifest": manifest, "description": message[:_MESSAGE_LIMIT]}
        what = f"committing prompt {address.name!r}"

        def post() -> Commit:
            row = self.service.once("POST", f"/commits/{address.path}", json=body)["commit"]
            return Commit(row["id"], row["commit_hash"], above, manifest)

        try:
            return PushResult(
                self.service.call(what, post, settled=lambda: self._ours(address, manifest, above)), fresh=True
            )
        except LangSmithConflictError:
            if (made := self._ours(address, manifest, above)) is not None:
                return PushResult(made, fresh=True)
            head = self.commit_at(Address(address.owner, address.name))
            if head is not None and head.same(manifest):
                return PushResult(head, fresh=False)
            raise self.conflict(address, head) from None

    def _ours(self, address: Address, manifest: Mapping[str, Any], parent: str | None) -> Commit | None:
        """The commit of this prompt on this parent, if it was made although its answer was lost."""
        what, path = f"reading commits of {address.name!r}", f"/commits/{address.path}/"
        listed = self.service.ask(what, "GET", path, params={"limit": _LOOK_BACK, "offset": 0})
        for row in listed["commits"]:
            if row.get("parent_commit_hash") != parent:
                continue
            found = self.commit_at(Address(address.owner, address.name, row["commit_hash"]))
            if found is not None and found.same(manifest):
                return found
        return None

    def _create(self, address: Address) -> None:
        """Make the repository, private, unless it is there."""
        body = {"repo_handle": address.name, "is_public": False, "description": "", "readme": "", "tags": []}
        what = f"creating prompt {address.name!r}"
        try:
            self.service.call(
                what, lambda: self.service.once("POST", "/repos", json=body), settled=lambda: self._there(address)
            )
        except LangSmithConflictError:
            return

    def _there(self, address: Address) -> Any | None:
        return self.service.find(f"reading prompt {address.name!r}", f"/repos/{address.path}")

    def move_tag(self, address: Address, tag: str, commit: Commit) -> str | None:
        """Put a tag on a commit. Repeating it is safe.

        Args:
            address: The prompt; its `ref` is not used.
            tag: The tag's name.
            commit: Where the tag goes.

        Returns:
            The hash of the commit that had the tag before; None where there was no such tag.

        Raises:
            ConflictError: The tag was created by another client at the same time.
        """
        before = self.tags(address).get(tag)
        if before == commit.hash:
            return before
        what, path = f"tagging prompt {address.name!r} as {tag!r}", f"/repos/{address.path}/tags"
        body = {"tag_name": tag, "commit_id": commit.id}
        if before is None:
            try:
                self.service.ask(what, "POST", path, json=body)
            except LangSmithConflictError:
                if self.tags(address).get(tag) != commit.hash:  # if it is, only the answer to us was lost
                    raise self._taken(address, tag) from None
        else:
            self.service.ask(what, "PATCH", f"{path}/{tag}", json={"commit_id": commit.id})
        return before

    def drop_tag(self, address: Address, tag: str) -> None:
        """Delete a tag, if it is there."""
        if tag in self.tags(address):
            path = f"/repos/{address.path}/tags/{tag}"

            def act() -> Any:
                gone = tag not in self.tags(address)
                return {} if gone else self.service.once("DELETE", path)

            self.service.call(f"removing tag {tag!r} of {address.name!r}", act)

    def _taken(self, address: Address, tag: str) -> ConflictError:
        msg = f"the tag {tag!r} of prompt {address.name!r} was made by somebody else meanwhile"
        mend = "The commit was made; the tag was not changed. Push again to move it, if you still want to."
        return ConflictError(msg, where=self.service.client.api_url, mend=mend, role="langsmith")

    def conflict(self, address: Address, head: Commit | None) -> ConflictError:
        """The error for a head that is not this run's, and how to mend it."""
        found = f"its head {head.hash[:8]} is not the prompt this run began with" if head else "it was deleted"
        msg = f"prompt {address.name!r} was changed by somebody else: {found}"
        mend = (
            f"Nothing was overwritten. Start a run from the new prompt (task.prompt = "
            f'"{address.name}"), or push under another name.'
        )
        return ConflictError(
            msg, where=self.service.client.api_url, mend=mend, role="langsmith", head=head.hash if head else None
        )


def pull_template(name: str) -> BasePromptTemplate[Any]:
    """The live template of "owner/name:tag" in LangSmith. See `PromptHub.pull`."""
    return PromptHub().pull(name)


def manifest_of(template: BasePromptTemplate[Any]) -> dict[str, Any]:
    """A template in LangChain's serialization, which the hub stores."""
    from langchain_core.load import dumps

    found: dict[str, Any] = json.loads(dumps(template))
    return found


def template_in(commit: Commit) -> BasePromptTemplate[Any] | None:
    """The template a commit holds, or None where it is something else or needs more than core to load."""
    from langchain_core.load import load
    from langchain_core.prompts.base import BasePromptTemplate

    manifest: Mapping[str, Any] = commit.manifest
    if (manifest.get("id") or [""])[-1] == "RunnableSequence":  # a prompt with its model: the prompt is first
        manifest = manifest.get("kwargs", {}).get("first") or manifest
    try:
        found = load(dict(manifest), allowed_objects="core")
    except (ValueError, TypeError, NotImplementedError, ImportError, KeyError):
        return None
    return found if isinstance(found, BasePromptTemplate) else None


def _commit(row: Mapping[str, Any]) -> Commit:
    return Commit(
        str(row.get("id") or row["commit_hash"]), row["commit_hash"], row.get("parent_commit_hash"), row["manifest"]
    )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


# ---------------------------------------------------------------- judges

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
        values = {}
        for name in self.variables:
            values[name] = _value(row, self.mapping.get(name, name), name, self.key)
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
    mapping = judge.get("variable_mapping") or {}
    return StoredJudge(
        key=str(keys[0]) if len(keys) == 1 else name,
        commit=commit.hash,
        mapping={str(k): str(v) for k, v in mapping.items()},
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
    fields = without(answer, _COMMENTS)
    if not fields:
        msg = f"the judge {key!r} gave no score: {found!r:.200}"
        raise EvaluatorError(msg, key=key)
    alone = len(fields) == 1
    out: list[dict[str, Any]] = []
    for name, value in fields.items():
        out.append(
            {"key": key if alone else name, "comment": comment, ("value" if isinstance(value, str) else "score"): value}
        )
    return out
