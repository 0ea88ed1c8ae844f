"""What a loopback server does wrong, and when: scripted, or drawn from a seed.

A drawn fault is decided by (seed, content of the request, how often that very
request was seen), so a run with retries meets the same faults whatever its
concurrency, and a request fails at most `most` times before it is answered.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

STATUSES = {
    "400": 400,
    "401": 401,
    "403": 403,
    "404": 404,
    "409": 409,
    "429": 429,
    "429-retry-after": 429,
    "quota": 429,
    "500": 500,
    "503": 503,
}
"""Answered with this status; the request is not acted on."""
BEFORE = frozenset({*STATUSES, "reset", "hang", "refused"})
"""Kinds for which the server never acts on the request."""
AFTER = frozenset({"lost", "slow", "truncated", "malformed", "empty", "html", "no_choices"})
"""Kinds for which the server does act, and only the answer is spoilt: a blind repeat is a double."""
TRANSIENT = (
    "429", "429-retry-after", "500", "503", "reset", "lost", "truncated", "malformed", "empty", "html", "no_choices",
)  # fmt: skip
"""What a careful client retries and then never notices again."""
PASSING = (*TRANSIENT, "409", "refused")
"""All that passes when it is asked again; a connection that is refused is met by clients that follow redirects."""
PLATFORM = TRANSIENT[:-1]
"""The same for LangSmith, which has no choices to leave out."""


class Asked(Protocol):
    """The part of a request that decides about its fault."""

    method: str

    @property
    def path(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One scripted fault: the matching requests `skip` .. `skip + times` in order of arrival.

    With `attempts` the rule holds only for these repetitions (0 is the first) of
    an identical request: `Rule("reset", attempts={0})` fails everything once.
    """

    kind: str
    path: str = "*"
    method: str = "*"
    times: int | None = None
    skip: int = 0
    attempts: Collection[int] | None = None


class Fired(NamedTuple):
    """One fault that happened."""

    method: str
    path: str
    kind: str
    attempt: int


class FaultPlan:
    """Rules first; then, for what no rule took, a seeded draw at `rate` among `kinds`."""

    def __init__(
        self,
        *rules: Rule,
        rate: float = 0.0,
        kinds: Sequence[str] = TRANSIENT,
        seed: int = 0,
        most: int = 2,
        path: str = "*",
        method: str = "*",
        retry_after: str = "1",
        slow: float = 0.2,
    ) -> None:
        unknown = {rule.kind for rule in rules}.union(kinds) - BEFORE - AFTER
        if unknown:
            raise ValueError(f"unknown kinds of fault: {sorted(unknown)}")
        self.rules, self.rate, self.kinds, self.seed, self.most = rules, rate, tuple(kinds), seed, most
        self.path, self.method, self.retry_after, self.slow = path, method, retry_after, slow
        self.fired: list[Fired] = []
        self._attempts: Counter[str] = Counter()
        self._matched: Counter[int] = Counter()

    def decide(self, request: Asked) -> str | None:
        """The kind of fault this request meets, if any. Called once for each request."""
        attempt = self._attempts[request.fingerprint]
        self._attempts[request.fingerprint] += 1
        kind = self._scripted(request, attempt) or self._drawn(request, attempt)
        if kind is not None:
            self.fired.append(Fired(request.method, request.path, kind, attempt))
        return kind

    def _scripted(self, request: Asked, attempt: int) -> str | None:
        for index, rule in enumerate(self.rules):
            if not _matches(request, rule.path, rule.method):
                continue
            if rule.attempts is not None and attempt not in rule.attempts:
                continue
            place = self._matched[index]
            self._matched[index] += 1
            if place >= rule.skip and (rule.times is None or place < rule.skip + rule.times):
                return rule.kind
        return None

    def _drawn(self, request: Asked, attempt: int) -> str | None:
        if attempt >= self.most or not self.rate or not _matches(request, self.path, self.method):
            return None
        digest = hashlib.sha256(f"{self.seed}/{request.fingerprint}/{attempt}".encode()).digest()
        if int.from_bytes(digest[:8]) >= self.rate * 2**64:
            return None
        return self.kinds[int.from_bytes(digest[8:16]) % len(self.kinds)]


def _matches(request: Asked, path: str, method: str) -> bool:
    return fnmatchcase(request.path, path) and fnmatchcase(request.method, method)
