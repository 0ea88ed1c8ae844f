"""Tango's interval against two independent solutions, and the exact level of the score test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from langchain_promptopt.gate.exact import constrained_worse, score_p, tango_interval, tango_statistic

tables = st.integers(1, 120).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda b: st.tuples(st.just(b), st.integers(0, n - b), st.just(n)))
)


def likelihood_worse(b, c, n, delta):
    """The constrained maximum found by a numeric search instead of the quadratic."""

    def loss(worse):
        parts = ((b, worse + delta), (c, worse), (n - b - c, 1 - 2 * worse - delta))
        return -sum(k * math.log(max(p, 1e-300)) for k, p in parts if k)

    low, high = max(0.0, -delta), (1 - delta) / 2
    return optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x


def quartic_limits(b, c, n, alpha):
    """Tango's limits as roots of a quartic (Yang, Sun and Hardin 2013), which needs no search."""
    g = stats.norm.ppf(1 - alpha) ** 2
    d, s = b - c, b + c
    coefficients = [
        n**2 * (n / g + 1) ** 2,
        -n * d * (n / g + 1) * (4 * n / g + 1),
        2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (s / g + 1),
        n * d * (2 * s / g + 1) - d**3 * (4 * n / g + 1) / g,
        d**2 * (d**2 / g - s) / g,
    ]
    roots = np.roots(coefficients)
    return [r.real for r in roots if abs(r.imag) < 1e-6]


@given(tables, st.floats(-0.9, 0.9))
@settings(max_examples=150)
def test_constrained_share_maximises_the_likelihood(table, delta):
    b, c, n = table
    assert constrained_worse(b, c, n, delta) == pytest.approx(likelihood_worse(b, c, n, delta), abs=2e-4)


@pytest.mark.parametrize("table", [(8, 1, 50), (32, 107, 1600), (15, 5, 100), (3, 9, 40), (21, 8, 75)])
@pytest.mark.parametrize("alpha", [0.025, 0.005])
def test_limits_are_roots_of_the_quartic(table, alpha):
    roots = quartic_limits(*table, alpha)
    for limit in tango_interval(*table, alpha):
        assert min(abs(limit - r) for r in roots) < 1e-6


@given(tables, st.floats(-0.9, 0.9))
def test_exchanging_the_sides_turns_the_statistic_round(table, delta):
    b, c, n = table
    assert tango_statistic(b, c, n, delta) == pytest.approx(-tango_statistic(c, b, n, -delta), abs=1e-6)


@given(tables, st.sampled_from((0.025, 0.0083, 0.0005)))
def test_limits_are_where_the_test_turns(table, alpha):
    b, c, n = table
    low, high = tango_interval(b, c, n, alpha)
    assert -1 <= low <= (b - c) / n <= high <= 1
    z = stats.norm.ppf(1 - alpha)
    if low > -0.999:
        assert tango_statistic(b, c, n, low) == pytest.approx(z, abs=1e-5)
    if high < 0.999:
        assert tango_statistic(b, c, n, high) == pytest.approx(-z, abs=1e-5)


def test_no_discordant_pair_still_has_width():
    """Close to the exact bound: 0.95^73 is just below 0.025."""
    low, high = tango_interval(0, 0, 73, 0.025)
    assert low == pytest.approx(-0.05, abs=1e-4)
    assert high == pytest.approx(-low)
    assert score_p(0, 0, 73, -0.05, 0.025) < 0.025 <= score_p(0, 0, 72, -0.05, 0.025)


@given(tables, st.sampled_from((-0.1, -0.02, 0.02, 0.05, 0.2)))
@settings(max_examples=60, deadline=None)
def test_exact_p_is_never_below_the_normal_tail(table, margin):
    b, c, n = table
    p = score_p(b, c, n, margin, 0.025)
    assert 0 < p <= 1
    assert p >= stats.norm.sf(tango_statistic(b, c, n, margin)) - 1e-12


@pytest.mark.parametrize(("n", "margin"), [(20, 0.05), (20, -0.05), (30, 0.1), (30, -0.02)])
@pytest.mark.parametrize("alpha", [0.025, 0.05 / 6])
def test_level_holds_for_every_true_table_at_the_margin(n, margin, alpha):
    """No sampling: the chance of rejection summed over all tables, for a fine grid of truths."""
    rejected = [(b, c) for b in range(n + 1) for c in range(n + 1 - b) if score_p(b, c, n, margin, alpha) < alpha]
    assert rejected
    low, high = max(0.0, -margin), (1 - margin) / 2
    for worse in np.linspace(low, high, 97):
        p = [worse + margin, worse, max(0.0, 1 - 2 * worse - margin)]
        chance = sum(stats.multinomial.pmf([b, c, n - b - c], n, p) for b, c in rejected)
        assert chance <= alpha * 1.001


def test_tangos_normal_tail_alone_would_not_hold_its_level():
    """Why the exact tail is needed: with all truth on one side the normal tail rejects too often."""
    n, margin, alpha = 200, 0.02, 0.025
    rejected = [b for b in range(n + 1) if stats.norm.sf(tango_statistic(b, 0, n, margin)) < alpha]
    assert sum(stats.binom.pmf(rejected, n, margin)) > 1.5 * alpha
    kept = [b for b in range(n + 1) if score_p(b, 0, n, margin, alpha) < alpha]
    assert sum(stats.binom.pmf(kept, n, margin)) <= alpha
