"""Trajectory retrieval as a LangChain retriever: past attempts as Documents with score and similarity."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import RunnableConfig
from pydantic import ConfigDict

from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.protocols import Ask
from langchain_promptopt.types import Attempt, Candidate, Message, Prompt, PromptSet, Remembered, attempts_by_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun


class TrajectoryRetriever(BaseRetriever):
    """Find the attempts of a run that help most in improving the current prompt.

    The query is a prompt's text. Each Document's content is an attempt's prompt; its metadata holds
    `candidate_id`, `score`, and `similarity` where the memory measures one (else None).

    Args:
        memory: A strategy of axis A4, such as `Relevance(k=3)` or `TopByScore(k=20)`.
        trajectory: The attempts so far, oldest first.
        around: The attempt whose text the query is; None looks the text up in the trajectory.
        ask: Leave to call a model and a seed, for memories that need them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    memory: Any
    trajectory: tuple[Any, ...] = ()
    around: Any = None
    ask: Any = None

    async def remembered(self, query: str, *, config: RunnableConfig | None = None) -> tuple[Remembered, ...]:
        """The same attempts as values, by a call that is traced as the retriever's."""
        found = await self.ainvoke(query, config)
        return tuple(items_of(found, (*self.trajectory, self._center(query))))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        return await self._find(query, run_manager.get_child())

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return run_sync(lambda: self._find(query, run_manager.get_child()))

    async def _find(self, query: str, callbacks: Any) -> list[Document]:
        ask = self.ask if self.ask is not None else Ask(_no_model, RunnableConfig(), 0)
        inner = replace(ask, config={**ask.config, "callbacks": callbacks})
        items = await self.memory.retrieve(tuple(self.trajectory), self._center(query), inner)
        return list(map(document_of, items))

    def _center(self, query: str) -> Attempt:
        if isinstance(self.around, Attempt):
            return self.around
        known = next((a for a in self.trajectory if text_of_prompts(a) == query), None)
        if known is not None:
            found: Attempt = known
            return found
        message = Message("human", query, "literal")
        return Attempt(Candidate(PromptSet((Prompt("main", (message,)),))), 0.0)


def document_of(item: Remembered) -> Document:
    """A remembered attempt as traces and chains see it."""
    attempt = item.attempt
    metadata: dict[str, Any] = {
        "candidate_id": attempt.candidate.id,
        "score": attempt.score,
        "similarity": item.similarity,
        "step": attempt.candidate.step,
        "gain": attempt.gain,
    }
    if item.summary:
        metadata["summary"] = item.summary
    return Document(id=attempt.candidate.id, page_content=text_of_prompts(attempt), metadata=metadata)


def items_of(documents: Iterable[Document], attempts: Iterable[Attempt]) -> list[Remembered]:
    """The inverse of `document_of`, given the attempts there are."""
    by_id = attempts_by_id(attempts)
    found: list[Remembered] = []
    for d in documents:
        found.append(
            Remembered(by_id[d.metadata["candidate_id"]], d.metadata["similarity"], d.metadata.get("summary", ""))
        )
    return found


def text_of_prompts(attempt: Attempt) -> str:
    """All messages of an attempt as one text."""
    text: str = attempt.candidate.prompts.document.text
    return text


def _no_model(_: tuple[str | int, ...]) -> Any:
    def refuse(_: Any) -> Any:
        msg = "this memory calls a model, and the retriever has none"
        raise ConfigError(msg, mend="Give `ask=Ask(lambda place: model, {}, seed)`.")

    return RunnableLambda(refuse)
