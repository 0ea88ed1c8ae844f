"""What an endpoint said to a question that costs nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["answers", "unlisted", "refused", "unreachable", "not asked", "no key"]


@dataclass(frozen=True)
class Probe:
    """What an endpoint said, for one role. A refusal or silence would end the run at its first call."""

    role: str
    name: str
    state: State
    detail: str = ""
    where: str = ""

    @property
    def exit_code(self) -> int:
        """The code that a run would end with (product section 4); 0 where nothing speaks against it."""
        return {"refused": 2, "no key": 2, "unreachable": 5}.get(self.state, 0)

    def as_json(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)
