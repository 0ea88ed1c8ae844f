"""What a run reads from and writes to LangSmith. Everything that writes is off unless asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class LangSmithOptions:
    """The `langsmith=` argument of `optimize`, and `[langsmith]` of a config file.

    Attributes:
        as_of: Version of the dataset: a tag, or a time in ISO form; None fixes the latest.
        metadata: Only examples whose metadata holds all of this.
        queues: Annotation queues whose reviewed runs give notes to their examples.
        write_splits: Write the splits made here back, when the dataset has none.
        experiments: Publish baseline, step winners and final as experiments of the dataset.
        judge_model: Model of judges named "langsmith:..."; None is the one stored with them.
        project: Project of the traces, where tracing is on; None is LANGSMITH_PROJECT.
    """

    as_of: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    queues: tuple[str, ...] = ()
    write_splits: bool = False
    experiments: bool = False
    judge_model: Any = None
    project: str | None = None

    @classmethod
    def of(cls, given: LangSmithOptions | Mapping[str, Any] | None) -> LangSmithOptions:
        """Options from a mapping. Raises ConfigError for unknown names."""
        if isinstance(given, LangSmithOptions):
            return given
        values = dict(given or {})
        known = {f.name for f in fields(cls)}
        if unknown := sorted(values.keys() - known):
            msg = f"langsmith has no option {unknown[0]!r}"
            raise ConfigError(msg, mend=f"It has: {', '.join(sorted(known))}.")
        if "queues" in values:
            queues = values["queues"]
            values["queues"] = (queues,) if isinstance(queues, str) else tuple(queues)
        return cls(**values)
