"""Power, detectable gain, rows needed, and what a split can show."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from langchain_promptopt.gate import planning
from langchain_promptopt.gate.exact import sign_test
from langchain_promptopt.gate.planning import feasibility
from langchain_promptopt.gate.statistics import exceeds
from langchain_promptopt.recipe import Gate


@pytest.mark.parametrize(("n", "expected"), [(100, 0.14), (400, 0.57), (1000, 0.94)])
def test_golden_power(n, expected):
    """Algorithms 6.1: 5 points at 20 % discordance, two-sided 0.05, which is 0.025 on our side."""
    assert planning.power(n, 0.05, 0.20, 0.025) == pytest.approx(expected, abs=0.005)


@given(
    st.integers(6, 40), st.sampled_from((0.05, 0.1, 0.3)), st.sampled_from((0.3, 0.5)), st.sampled_from((0.025, 0.01))
)
@settings(max_examples=25, deadline=None)
def test_power_is_the_sum_over_all_tables(n, gain, discordance, alpha):
    better, worse = (discordance + gain) / 2, (discordance - gain) / 2
    p = [better, worse, 1 - better - worse]
    expected = sum(
        stats.multinomial.pmf([b, c, n - b - c], n, p)
        for b in range(n + 1)
        for c in range(n + 1 - b)
        if sign_test(b, c) < alpha
    )
    assert planning.power(n, gain, discordance, alpha) == pytest.approx(expected, rel=1e-6)


def test_power_at_no_gain_is_below_alpha():
    assert planning.power(200, 0.0, 0.3, 0.025) <= 0.025
    assert planning.power(200, 0.0, 0.0, 0.025) == 0.0


def test_power_at_a_margin_counts_from_the_margin():
    assert planning.power(300, 0.05, 0.2, 0.025, 0.05) == pytest.approx(0.025, abs=0.003)
    assert planning.power(300, 0.15, 0.2, 0.025, 0.05) > 0.9


def test_normal_power_meets_the_exact_one_for_many_rows():
    exact = planning.power(3_000, 0.03, 0.2, 0.025)
    assert planning.power(3_001, 0.03, 0.2, 0.025) == pytest.approx(exact, abs=0.02)


@given(st.integers(10, 400), st.sampled_from((0.1, 0.2, 0.4)))
@settings(max_examples=20, deadline=None)
def test_detectable_gain_has_the_asked_power(n, discordance):
    least = planning.minimum_detectable_effect(n, discordance, 0.025)
    assert least is not None
    assert planning.power(n, least, discordance, 0.025) >= 0.8
    assert planning.power(n, least - 0.002, discordance, 0.025) < 0.81


def test_detectable_gain_does_not_exist_where_a_clean_sweep_cannot_pass():
    assert planning.minimum_detectable_effect(5, 0.2, 0.025) is None
    assert planning.minimum_detectable_effect(14, 0.2, 5.4e-5) is None


@pytest.mark.parametrize("gain", [0.02, 0.05, 0.1, 0.3])
def test_rows_needed_have_the_asked_power_and_few_fewer_do(gain):
    rows = planning.rows_needed(gain, 0.2, 0.025)
    assert rows is not None
    assert planning.power(rows, gain, 0.2, 0.025) >= 0.8
    assert planning.power(round(rows * 0.9) - 1, gain, 0.2, 0.025) < 0.8


def test_rows_needed_are_unknown_without_a_gain():
    assert planning.rows_needed(0.0, 0.2, 0.025) is None
    assert planning.rows_needed(0.05, 0.2, 0.025, margin=0.05) is None
    assert planning.rows_needed(1e-5, 0.2, 0.025) is None
    assert planning.spread_rows_needed(0.0, 0.2, 0.025) is None


def test_rows_needed_for_a_spread_find_the_gain():
    rows, rng = planning.spread_rows_needed(0.05, 0.2, 0.025, worst=-0.1), Random(0)
    assert rows == pytest.approx((1.96 + 0.8416) ** 2 * 16, abs=2)
    found = sum(
        stats.ttest_1samp([rng.gauss(0.05, 0.2) for _ in range(rows)], 0, alternative="greater").pvalue < 0.025
        for _ in range(400)
    )
    assert found / 400 == pytest.approx(0.8, abs=0.07)
    assert planning.spread_detectable_effect(rows, 0.2, 0.025, worst=-0.1) == pytest.approx(0.05, abs=1e-3)


def test_announced_power_counts_failures_that_stayed_unseen_as_the_test_does():
    """Gains of one size: what is announced is what passes, on as many rows as are asked for and on no fewer."""
    rows = planning.spread_rows_needed(0.02, 0.0, 0.025, worst=-0.5)
    assert rows is not None
    assert exceeds([0.02] * rows, 0.0, 0.025, Random(0), bounds=(-0.5, 0.5)).p_value < 0.025
    assert exceeds([0.02] * int(0.93 * rows), 0.0, 0.025, Random(0), bounds=(-0.5, 0.5)).p_value > 0.025
    assert planning.spread_detectable_effect(40, 0.02, 0.025) > 3 * planning.spread_detectable_effect(
        40, 0.02, 0.025, worst=0.0
    )


def test_announced_power_of_scores_with_a_spread_is_the_power_of_the_test():
    """Judges' scores of spread 0.15 on 40 rows, where an outright failure would cost 0.8."""
    effect, rng = planning.spread_detectable_effect(40, 0.15, 0.025, worst=-0.8), Random(5)
    draws = ([rng.gauss(effect, 0.15) for _ in range(40)] for _ in range(120))
    found = sum(exceeds(d, 0.0, 0.025, rng, resamples=199, bounds=(-0.8, 0.8)).p_value < 0.025 for d in draws)
    assert found / 120 == pytest.approx(0.8, abs=0.12)


@pytest.mark.parametrize(
    ("n", "rate", "possible"),
    [(6, None, True), (5, None, False), (100, 0.94, True), (100, 0.95, False), (100, 1.0, False), (10, 0.0, True)],
)
def test_clean_sweep(n, rate, possible):
    assert planning.clean_sweep_possible(n, 0.025, rate) is possible


def test_clean_sweep_at_a_margin_needs_more():
    assert planning.clean_sweep_possible(100, 0.025, 0.94)
    assert not planning.clean_sweep_possible(100, 0.025, 0.94, margin=0.05)


def test_feasibility_says_what_a_split_can_show():
    able = feasibility(400, Gate())
    assert able.possible
    assert able.alpha == 0.025
    assert [c.gain for c in able.table] == [0.02, 0.05, 0.10, 0.20]
    assert able.table[1].power == pytest.approx(0.57, abs=0.005)
    assert able.as_json()["power"][1]["gain"] == 0.05


def test_feasibility_refuses_fewer_than_six_clusters():
    able = feasibility(5, Gate(alpha=0.5))
    assert not able.possible
    assert "the test split has 5" in able.reason


def test_feasibility_refuses_a_sweep_that_cannot_pass():
    assert not feasibility(100, Gate(), baseline_rate=0.97).possible
    assert feasibility(100, Gate(), baseline_rate=0.9).possible
    assert not feasibility(14, Gate(), opening=30).possible
    assert "opening 30" in feasibility(14, Gate(), opening=30).reason
    assert not feasibility(1000, Gate(alpha=1e-320)).possible


def test_feasibility_falls_with_each_opening():
    chances = [feasibility(200, Gate(), opening=k).table[2].power for k in (1, 2, 5, 30)]
    assert chances == sorted(chances, reverse=True)
    assert chances[-1] < chances[0]


def test_feasibility_warns_of_guards_too_tight_for_the_rows():
    (warning,) = feasibility(100, Gate(guards={"policy": 0.02, "tone": 0.05})).warnings
    assert "policy" in warning
    assert "189 examples" in warning
    (hopeless,) = feasibility(100, Gate(guards={"policy": 0.0})).warnings
    assert "a gain of its own" in hopeless
