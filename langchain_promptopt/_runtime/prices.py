"""What tokens cost: the user's table first, then a dated one of well-known models, else unknown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_promptopt.errors import ConfigError, PriceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PRICES_AS_OF = "2025-09"
"""Month of the built-in table. Providers change prices; a table of one's own wins over it."""

_PICO = 1_000_000  # picodollars a token for one dollar per million tokens
_PER_USD = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens. Cache prices left out are charged as plain input, never less."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def cost(self, input_tokens: int, output_tokens: int, cache_read: int = 0, cache_write: int = 0) -> int:
        """Cost in picodollars: whole numbers add up to the same sum in any order.

        `input_tokens` includes the cached ones, as langchain-core counts.

        >>> Price(2.5, 10.0).cost(1000, 100) / 1e12
        0.0035
        """
        plain = max(0, input_tokens - cache_read - cache_write)
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        parts = ((plain, self.input), (cache_read, read), (cache_write, write), (output_tokens, self.output))
        return sum(tokens * round(price * _PICO) for tokens, price in parts)


def to_usd(pico: int) -> float:
    """Dollars of picodollars."""
    return pico / _PER_USD


def to_pico(usd: float) -> int:
    """Picodollars of dollars; the inverse of `to_usd` for what the ledger wrote."""
    return round(usd * _PER_USD)


FREE = Price(0.0, 0.0)

# List prices of the providers' own APIs as published up to PRICES_AS_OF: standard tier, short context.
_KNOWN: dict[str, Price] = {
    "gpt-3.5-turbo": Price(0.50, 1.50),
    "gpt-4": Price(30.0, 60.0),
    "gpt-4-turbo": Price(10.0, 30.0),
    "gpt-4o": Price(2.50, 10.0, 1.25),
    "gpt-4o-2024-05-13": Price(5.0, 15.0),
    "gpt-4o-mini": Price(0.15, 0.60, 0.075),
    "gpt-4.1": Price(2.0, 8.0, 0.50),
    "gpt-4.1-mini": Price(0.40, 1.60, 0.10),
    "gpt-4.1-nano": Price(0.10, 0.40, 0.025),
    "gpt-5": Price(1.25, 10.0, 0.125),
    "gpt-5-mini": Price(0.25, 2.0, 0.025),
    "gpt-5-nano": Price(0.05, 0.40, 0.005),
    "o1": Price(15.0, 60.0, 7.50),
    "o3": Price(2.0, 8.0, 0.50),
    "o3-mini": Price(1.10, 4.40, 0.55),
    "o4-mini": Price(1.10, 4.40, 0.275),
    "claude-3-haiku": Price(0.25, 1.25, 0.03, 0.30),
    "claude-3-opus": Price(15.0, 75.0, 1.50, 18.75),
    "claude-3-5-haiku": Price(0.80, 4.0, 0.08, 1.0),
    "claude-3-5-sonnet": Price(3.0, 15.0, 0.30, 3.75),
    "claude-3-7-sonnet": Price(3.0, 15.0, 0.30, 3.75),
    "claude-sonnet-4": Price(3.0, 15.0, 0.30, 3.75),
    "claude-opus-4": Price(15.0, 75.0, 1.50, 18.75),
    "claude-opus-4-1": Price(15.0, 75.0, 1.50, 18.75),
    "gemini-1.5-flash": Price(0.075, 0.30),
    "gemini-1.5-pro": Price(1.25, 5.0),
    "gemini-2.0-flash": Price(0.10, 0.40),
    "gemini-2.0-flash-lite": Price(0.075, 0.30),
    "gemini-2.5-flash": Price(0.30, 2.50),
    "gemini-2.5-flash-lite": Price(0.10, 0.40),
    "gemini-2.5-pro": Price(1.25, 10.0),
}
_PROVIDERS = {"openai", "anthropic", "google_genai", "google_vertexai", "google", "models"}
_SNAPSHOT = re.compile(r"(?:-latest|[-@]\d{4}-?\d{2}-?\d{2}|-00[0-9])$")


class PriceTable:
    """Prices by model id. `offline` models cost nothing; a model in no table has no price.

    A dated snapshot has the price of its model: "openai:gpt-4o-2024-08-06" is "gpt-4o". Other
    suffixes ("-audio", "-pro") are other models.

    Args:
        own: The user's prices: model id -> Price, or a mapping with its fields.
    """

    def __init__(self, own: Mapping[str, Price | Mapping[str, Any]] | None = None) -> None:
        checked = {name: _checked(name, price) for name, price in (own or {}).items()}
        bare = {spellings(name)[-1]: price for name, price in checked.items() if not _SNAPSHOT.search(name)}
        self._own = bare | checked

    def price(self, model_id: str) -> Price | None:
        """The price of this model, or None where it is unknown."""
        names = spellings(model_id)
        for table in (self._own, _KNOWN):
            for name in names:
                if name in table:
                    return table[name]
        return FREE if re.split(r"[:_/-]", model_id, maxsplit=1)[0] == "offline" else None

    def require(self, model_ids: Iterable[str]) -> None:
        """Refuse models without a price, before anything is spent. Raises PriceError naming them all."""
        unknown = sorted({m for m in model_ids if self.price(m) is None})
        if unknown:
            msg = f"budget.usd is set, but the price of {', '.join(unknown)} is unknown"
            mend = "Give it in the price table (dollars per million tokens: input, output), or drop budget.usd."
            raise PriceError(msg, mend=mend, models=unknown)


def spellings(model_id: str) -> list[str]:
    """The id as given, without its provider, without its date; the most exact first."""
    names = [model_id]
    for separator in (":", "/"):
        head, found, tail = names[-1].partition(separator)
        if found and head in _PROVIDERS:
            names.append(tail)
    return [*names, *(bare for name in names if (bare := _SNAPSHOT.sub("", name)) != name)]


def _checked(name: str, given: Price | Mapping[str, Any]) -> Price:
    if isinstance(given, Price):
        price = given
    else:
        try:
            price = Price(**given)
        except TypeError as error:
            msg = f"the price of {name} is not understood: {dict(given)!r}"
            mend = "Give input and output, and cache_read and cache_write if they differ."
            raise ConfigError(msg, mend=mend) from error
    caches = [v for v in (price.cache_read, price.cache_write) if v is not None]
    if not all(_is_amount(v) for v in (price.input, price.output, *caches)):
        msg = f"the price of {name} must be numbers from 0 up, got {price!r}"
        raise ConfigError(msg)
    return price


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < float("inf")
