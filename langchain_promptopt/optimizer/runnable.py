"""`PromptOptimizer`: the optimizer as a Runnable, and as a session that is driven from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from langchain_core.runnables import Runnable, RunnableConfig

from langchain_promptopt._runtime.concurrency import run_sync
from langchain_promptopt.errors import ConfigError
from langchain_promptopt.optimizer.arguments import Arguments, refuse_unknown, settings_of
from langchain_promptopt.optimizer.run import run_task

if TYPE_CHECKING:
    from langchain_promptopt.optimizer.arguments import Task
    from langchain_promptopt.optimizer.result import Result
    from langchain_promptopt.optimizer.session import Session


class PromptOptimizer(Runnable[Any, Any]):
    """An optimizer with its settings; give it a chain (or {"chain": ..., "data": ...}) and get a Result.

    Args:
        **settings: The arguments of `optimize` except the chain; an input's own entries win over them.
    """

    def __init__(self, **settings: Unpack[Arguments]) -> None:
        refuse_unknown(settings, Arguments.__annotations__, where="PromptOptimizer()")
        self._settings = settings

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Result:  # noqa: A002, ARG002
        """Optimize a chain.

        Args:
            input: The chain, or {"chain": chain, ...} with further arguments of `optimize`.
            config: Its callbacks get the decision trace.
            **kwargs: Taken for the Runnable interface, and not used.

        Raises:
            PromptOptError: As `optimize`.
        """
        return run_sync(lambda: self.ainvoke(input, config))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Result:  # noqa: A002, ARG002
        """Optimize a chain on the running event loop.

        Args:
            input: The chain, or {"chain": chain, ...} with further arguments of `optimize`.
            config: Its callbacks get the decision trace.
            **kwargs: Taken for the Runnable interface, and not used.

        Raises:
            PromptOptError: As `optimize`.
        """
        chain, settings = self._read(input)
        return await run_task(chain, settings_of(settings, where="PromptOptimizer()"), config)

    def session(self, chain: Task, **settings: Unpack[Arguments]) -> Session:
        """A run whose evaluations are made by the caller: `propose()` gives cells, `tell()` takes outcomes."""
        from langchain_promptopt.optimizer.session import Session

        return Session(chain, settings_of({**self._settings, **settings}, where="session()"))

    def _read(self, value: Any) -> tuple[Any, dict[str, Any]]:
        if not isinstance(value, Mapping):
            return value, {**self._settings}
        given = dict(value)
        if "chain" not in given:
            msg = "the input names no chain"
            raise ConfigError(msg, mend='Give the chain itself, or {"chain": chain, "data": ...}.')
        chain = given.pop("chain")
        return chain, {**self._settings, **given}
