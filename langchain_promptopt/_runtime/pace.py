"""How many calls an endpoint bears at once, learned from its latency (product 11.15).

A local server answers one call at a time: more in flight only wait in its queue, until they are given up and sent
again. So an unknown endpoint is asked little at first. The number of calls in flight doubles while more answers a
second come back, and goes back to the last number that paid when they do not.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

_QUICK = 0.5
"""Seconds a call may take on average before it matters how many are in flight."""
_PAYS = 1.2
"""Answers a second must grow by this factor for the doubled number to stay."""
_SLOWER = 3.0
"""An average that grew by this factor since the number was found is a reason to look for it again."""
_AGAIN = 40
"""After this many rounds at one number the next one is tried again."""


class Pace:
    """The number of calls in flight that one kind of calls may have at an endpoint.

    Args:
        most: Never more than this.
        start: How many at first.
    """

    def __init__(self, most: int, start: int) -> None:
        self.most = most
        self.level = max(1, min(start, most))
        self._calls, self._seconds = 0, 0.0
        self._best = (0.0, self.level)
        self._mean = 0.0
        self._searching = self.level < most
        self._rounds = 0

    def ended(self, seconds: float, *, busy: bool) -> None:
        """Note an answered call.

        Args:
            seconds: How long it took in flight.
            busy: Whether as many calls were in flight as may be; others say nothing about the number.
        """
        if not busy:
            return
        self._calls += 1
        self._seconds += seconds
        mean = self._seconds / self._calls
        if self._searching and self._best[0] == 0.0 and mean < _QUICK:
            self._settle(self.most, mean)
        elif self._calls >= 2 * self.level:
            self._round(mean)

    def _round(self, mean: float) -> None:
        rate = self.level / max(mean, 1e-6)
        self._calls, self._seconds = 0, 0.0
        if self._searching and rate > _PAYS * self._best[0]:
            self._best, self._mean = (rate, self.level), mean
            self._searching = self.level < self.most
            self.level = min(self.most, 2 * self.level)
        elif self._searching:
            self._settle(self._best[1], self._mean)
        elif self._mean == 0.0:
            self._mean = mean
        elif mean > max(_SLOWER * self._mean, _QUICK):
            self._look(1)
        else:
            self._rounds += 1
            if self._rounds >= _AGAIN and self.level < self.most:
                self._look(self.level)

    def _settle(self, level: int, mean: float) -> None:
        self.level, self._mean, self._searching, self._rounds = level, mean, False, 0
        self._calls, self._seconds = 0, 0.0

    def _look(self, level: int) -> None:
        self.level, self._best, self._searching, self._rounds = level, (0.0, level), True, 0


_HOSTED = 8


def first_level(endpoint: str, most: int) -> int:
    """How many calls an endpoint gets at first: one on this machine or network, some elsewhere, all without one.

    Args:
        endpoint: The address of the model; "" is a provider's default, or no network at all.
        most: The user's `max_concurrency`.

    >>> first_level("http://127.0.0.1:8081/v1", 32), first_level("https://api.example.com/v1", 32), first_level("", 32)
    (1, 8, 32)
    """
    host = urlsplit(endpoint).hostname
    if not host:
        return most
    return min(most, 1 if is_near(host) else _HOSTED)


def is_near(host: str) -> bool:
    """Whether a host name is of this machine or a private network."""
    if host == "localhost" or host.endswith((".local", ".internal", ".lan")):
        return True
    try:
        return ip_address(host).is_private
    except ValueError:
        return False
