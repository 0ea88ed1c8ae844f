"""What tokens cost: the user's table first, then the list prices that genai-prices knows, else unknown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_promptopt._collections import present
from langchain_promptopt.errors import ConfigError, PriceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PICO = 1_000_000  # picodollars a token for one dollar per million tokens
_PER_USD = 1_000_000_000_000
_MOST_USD = 1e15
"""No limit of money is higher."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens. Where a cache price is missing, cached tokens cost as much as plain input."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def cost(self, input_tokens: int, output_tokens: int, cache_read: int = 0, cache_write: int = 0) -> int:
        """Cost of one call in picodollars: whole numbers have the same sum in any order.

        Args:
            input_tokens: All input tokens, the cached ones included, as langchain-core counts.
            output_tokens: All output tokens.
            cache_read: Input tokens read from the provider's cache.
            cache_write: Input tokens written to it.

        >>> Price(2.5, 10.0).cost(1000, 100) / 1e12
        0.0035
        """
        plain = max(0, input_tokens - cache_read - cache_write)
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        parts = ((plain, self.input), (cache_read, read), (cache_write, write), (output_tokens, self.output))
        return sum(tokens * round(price * _PICO) for tokens, price in parts)

    def times(self, share: float) -> Price:
        """Each of these prices times `share`."""
        cached = [None if price is None else price * share for price in (self.cache_read, self.cache_write)]
        return Price(self.input * share, self.output * share, *cached)


@dataclass(frozen=True, slots=True)
class TieredPrice:
    """A price that depends on the length of the input: all tokens of a call cost what its tier says.

    Args:
        steps: The number of input tokens above which a price holds, from 0 up, and the price.
    """

    steps: tuple[tuple[int, Price], ...]

    def cost(self, input_tokens: int, output_tokens: int, cache_read: int = 0, cache_write: int = 0) -> int:
        """Cost of one call in picodollars, by the highest step that the input reaches.

        Args:
            input_tokens: All input tokens, the cached ones included, as langchain-core counts.
            output_tokens: All output tokens.
            cache_read: Input tokens read from the provider's cache.
            cache_write: Input tokens written to it.
        """
        holds = []
        for start, price in self.steps:
            if input_tokens > start or start == 0:
                holds.append(price)
        return holds[-1].cost(input_tokens, output_tokens, cache_read, cache_write)

    def times(self, share: float) -> TieredPrice:
        """Each of these prices times `share`."""
        return TieredPrice(tuple((start, price.times(share)) for start, price in self.steps))


def to_usd(pico: int) -> float:
    """Dollars of picodollars."""
    return pico / _PER_USD


def to_pico(usd: float) -> int:
    """Picodollars of dollars; the inverse of `to_usd` for what the ledger wrote."""
    return round(min(usd, _MOST_USD) * _PER_USD)


FREE = Price(0.0, 0.0)

_PROVIDERS = {
    "anthropic": "anthropic",
    "azure_openai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "google": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "groq": "groq",
    "mistralai": "mistral",
    "models": "google",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "xai": "x-ai",
}
"""Providers as LangChain spells them, and as genai-prices does."""
_SNAPSHOT = re.compile(r"(?:-latest|[-@]\d{4}-?\d{2}-?\d{2}|-00[0-9])$")

_OTHER_UNITS = re.compile(r"(?i)audio|realtime|search|image|tts|transcribe|sonar")


SERVICE_TIERS = {"batch": 0.5, "flex": 0.5}
"""Share of its list price that a model costs in a slower tier of its provider; OpenAI halves both."""


def at_tier(model_id: str, tier: str | None) -> str:
    """The name under which `PriceTable` knows a model in a service tier.

    >>> at_tier("gpt-5-mini", "flex"), at_tier("gpt-5-mini", "default")
    ('gpt-5-mini@flex', 'gpt-5-mini')
    """
    return f"{model_id}@{tier}" if tier in SERVICE_TIERS else model_id


def without_tier(name: str) -> str:
    """The model of a name that `at_tier` made."""
    model, _, tier = name.rpartition("@")
    return model if model and tier in SERVICE_TIERS else name


class PriceTable:
    """Prices by model id: the user's table first, then the list prices of genai-prices; else there is none.

    `offline` models cost nothing. A dated snapshot has the price of its model unless it has one of its
    own: "openai:gpt-4o-2024-08-06" is "gpt-4o". "gpt-4o@batch" and "gpt-4o@flex" are half of "gpt-4o" unless
    the user's table has them.

    Args:
        own: The user's prices: model id -> Price, or a mapping with its fields.
    """

    def __init__(self, own: Mapping[str, Price | Mapping[str, Any]] | None = None) -> None:
        checked = {name: _checked(name, price) for name, price in (own or {}).items()}
        bare = {}
        for name, price in checked.items():
            if not _SNAPSHOT.search(name):
                bare[spellings(name)[-1]] = price
        self._own = bare | checked
        self._known: dict[str, Price | TieredPrice | None] = {}

    def price(self, model_id: str) -> Price | TieredPrice | None:
        """The price of this model, or None where it is unknown."""
        if model_id not in self._known:
            self._known[model_id] = self._found(model_id)
        return self._known[model_id]

    def _found(self, model_id: str) -> Price | TieredPrice | None:
        model = without_tier(model_id)
        tier = model_id[len(model) :]
        found = next((self._own[name + tier] for name in spellings(model) if name + tier in self._own), None)
        if found is not None:
            return found
        if tier:
            whole = self.price(model)
            return None if whole is None else whole.times(SERVICE_TIERS[tier[1:]])
        if re.split(r"[:_/-]", model_id, maxsplit=1)[0] == "offline":
            return FREE
        return _listed(model_id)

    def require(self, model_ids: Iterable[str]) -> None:
        """Refuse models without a price, before anything is spent. Raises PriceError naming them all."""
        unknown = sorted({m for m in model_ids if self.price(m) is None})
        if unknown:
            msg = f"budget.usd is set, but the price of {', '.join(unknown)} is unknown"
            mend = "Give it in the price table (dollars per million tokens: input, output), or drop budget.usd."
            raise PriceError(msg, mend=mend, models=unknown)


@cache
def _listed(model_id: str) -> Price | TieredPrice | None:
    """The list price in the data that genai-prices brings along; nothing is fetched.

    None for a model that also charges for sound, pictures, requests or searches: tokens are not its whole cost.
    """
    from genai_prices.data_snapshot import get_snapshot  # a large table, loaded when a price is asked for

    if _OTHER_UNITS.search(model_id):
        return None
    provider, name = None, model_id
    for separator in (":", "/"):
        head, found, tail = name.partition(separator)
        if found and head in _PROVIDERS and (provider is None or head == "models"):
            provider, name = _PROVIDERS[head], tail
    try:
        _, model = get_snapshot().find_provider_model(name, None, provider, None)
    except LookupError:
        return None
    return _read_price(model.get_prices(datetime.now(UTC)))


def _read_price(listed: Any) -> Price | TieredPrice | None:
    parts = {}
    for ours, theirs in (
        ("input", "input_mtok"),
        ("output", "output_mtok"),
        ("cache_read", "cache_read_mtok"),
        ("cache_write", "cache_write_mtok"),
    ):
        parts[ours] = _read_tiers(getattr(listed, theirs, None))
    if not parts["input"] or not parts["output"] or getattr(listed, "requests_kcount", None) is not None:
        return None
    found: set[int] = set()
    for tiers in parts.values():
        found.update(tiers)
    starts = sorted(found)
    steps = []
    for start in starts:
        prices = {name: _at(tiers, start) for name, tiers in parts.items()}
        steps.append((start, Price(**prices)))  # type: ignore[arg-type]  # input and output are there
    return steps[0][1] if len(steps) == 1 else TieredPrice(tuple(steps))


def _read_tiers(value: Any) -> dict[int, float]:
    """Prices by the number of input tokens above which they hold; {} where there is none."""
    if value is None:
        return {}
    if not hasattr(value, "tiers"):
        return {0: float(value)}
    return {0: float(value.base), **{int(tier.start): float(tier.price) for tier in value.tiers}}


def _at(tiers: Mapping[int, float], start: int) -> float | None:
    return tiers[max(s for s in tiers if s <= start)] if tiers else None


def spellings(model_id: str) -> list[str]:
    """The id as given, without its provider, without its date; the most exact first."""
    names = [model_id]
    for separator in (":", "/"):
        head, found, tail = names[-1].partition(separator)
        if found and head in _PROVIDERS:
            names.append(tail)
    undated = []
    for name in names:
        bare = _SNAPSHOT.sub("", name)
        if bare != name:
            undated.append(bare)
    return names + undated


def _checked(name: str, given: Price | Mapping[str, Any]) -> Price:
    if isinstance(given, Price):
        price = given
    else:
        try:
            price = Price(**given)
        except TypeError as error:
            msg = f"the price of {name} has wrong or missing fields: {dict(given)!r}"
            mend = "Give input and output, and cache_read and cache_write if they differ from input."
            raise ConfigError(msg, mend=mend) from error
    caches = present((price.cache_read, price.cache_write))
    if not all(map(_is_amount, (price.input, price.output, *caches))):
        msg = f"the price of {name} must be numbers from 0 up, got {price!r}"
        raise ConfigError(msg)
    return price


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < float("inf")
