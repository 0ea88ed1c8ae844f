"""The sign-flip permutation test against enumeration, scipy and the sign test."""

from __future__ import annotations

import itertools
import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from langchain_promptopt.gate.exact import (
    binomial_tail,
    critical_wins,
    normal_quantile,
    normal_tail,
    sign_flip_p,
    sign_test,
    whole_steps,
)

quarters = st.integers(-4, 4).map(lambda k: k / 4)
thirds = st.integers(-3, 3).map(lambda k: k / 3)


def enumerated(differences):
    """The definition: the share of sign patterns whose sum is at least the observed one."""
    observed = sum(differences)
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in _patterns(len(differences))]
    return sum(s >= observed - 1e-9 for s in sums) / len(sums)


def _patterns(n):
    return list(itertools.product((1, -1), repeat=n))


@pytest.mark.parametrize(("wins", "losses"), [(6, 0), (8, 1), (15, 5)])
def test_golden_tables_pass_at_two_sided_5_percent(wins, losses):
    """Algorithms 6.1."""
    assert 2 * sign_test(wins, losses) < 0.05


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (9, 2), (12, 4)])
def test_golden_tables_do_not_pass_at_two_sided_5_percent(wins, losses):
    assert 2 * sign_test(wins, losses) >= 0.05


@given(st.integers(0, 400), st.integers(0, 400))
def test_sign_test_is_scipys_binomtest(wins, losses):
    expected = 1.0 if wins + losses == 0 else stats.binomtest(wins, wins + losses, alternative="greater").pvalue
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40))
def test_binary_differences_give_the_sign_test_exactly(wins, losses, ties):
    differences = [1.0] * wins + [-1.0] * losses + [0.0] * ties
    assert sign_flip_p(differences) == sign_test(wins, losses)


@given(st.lists(quarters, max_size=11) | st.lists(thirds, max_size=11))
@settings(max_examples=150)
def test_small_samples_equal_enumeration(differences):
    assert sign_flip_p(differences) == pytest.approx(enumerated(differences), abs=1e-12)


@given(st.lists(st.floats(-1, 1).filter(lambda d: d == 0 or abs(d) > 1e-3), min_size=1, max_size=11))
@settings(max_examples=150)
def test_real_differences_equal_enumeration_up_to_the_grid(differences):
    """Sums closer to the observed one than the grid is fine may fall on either side."""
    observed = sum(differences)
    reach = 1e-4 * sum(map(abs, differences)) + 1e-9
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in _patterns(len(differences))]
    fewest = sum(s > observed + reach for s in sums) / len(sums)
    most = sum(s >= observed - reach for s in sums) / len(sums)
    assert fewest <= sign_flip_p(differences) <= most


def test_larger_samples_agree_with_scipys_permutation_test():
    rng = Random(5)
    for n, gain in ((30, 0.1), (80, 0.05), (200, 0.04)):
        differences = [rng.gauss(gain, 0.3) for _ in range(n)]
        found = stats.permutation_test(
            (differences,),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            alternative="greater",
            n_resamples=40_000,
            vectorized=True,
            rng=1,
        )
        sampling = 5 * math.sqrt(found.pvalue * (1 - found.pvalue) / 40_000) + 1e-4
        assert sign_flip_p(differences) == pytest.approx(found.pvalue, abs=sampling)


def counted(steps):
    """The number of sign patterns for each sum, kept in a plain table: slow, and never rounded."""
    ways = {0: 1}
    for size in map(abs, steps):
        grown = {}
        for total, count in ways.items():
            for sign in (size, -size):
                grown[total + sign] = grown.get(total + sign, 0) + count
        ways = grown
    observed = sum(steps)
    return sum(count for total, count in ways.items() if total >= observed) / 2 ** len(steps)


@pytest.mark.parametrize("n", [100, 126, 127, 128, 160, 161, 400])
def test_scaled_fields_of_large_samples_lose_nothing(n):
    """From 128 differences on the fields have a fixed width and are scaled down on the way."""
    rng = Random(n)
    steps = [rng.choice((-3, -2, -1, 1, 2, 3, 3)) for _ in range(n)]
    assert sign_flip_p([s / 3 for s in steps]) == pytest.approx(counted(steps), rel=1e-9, abs=1e-13)


def test_p_is_never_rounded_down_to_nothing():
    assert 0 < sign_flip_p([1 / 3] * 200 + [2 / 3] * 200) < 1e-9


def test_a_thousand_clusters_agree_with_the_normal_limit():
    rng = Random(11)
    differences = [rng.uniform(-1, 1) + 0.05 for _ in range(1000)]
    z = sum(differences) / math.sqrt(sum(d * d for d in differences))
    assert sign_flip_p(differences) == pytest.approx(normal_tail(z), rel=0.1)


@given(st.lists(quarters, max_size=40), st.randoms(use_true_random=False), st.sampled_from((0.5, 2.0, 1 / 3)))
def test_order_and_scale_do_not_matter(differences, random, scale):
    p = sign_flip_p(differences)
    mixed = list(differences)
    random.shuffle(mixed)
    assert sign_flip_p(mixed) == p
    assert sign_flip_p([d * scale for d in differences]) == pytest.approx(p, abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_the_grid_is_an_odd_function(differences):
    """What makes the test on rounded differences exact."""
    moved = [d for d in differences if abs(d) > 1e-6]
    if moved:
        assert whole_steps([-d for d in moved]) == [-s for s in whole_steps(moved)]


@given(st.lists(quarters, min_size=1, max_size=30), st.integers(0, 29))
def test_a_larger_gain_is_never_less_significant(differences, at):
    i = at % len(differences)
    better = [*differences[:i], 1.0, *differences[i + 1 :]]
    if differences[i] >= 0:
        assert sign_flip_p(better) <= sign_flip_p(differences) + 1e-12


def test_no_difference_is_no_evidence():
    assert sign_flip_p([]) == 1.0
    assert sign_flip_p([0.0, 0.0]) == 1.0


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.001, 0.999))
def test_binomial_tail_is_scipys(k, n, p):
    assert binomial_tail(k, n, p) == pytest.approx(stats.binom.sf(k - 1, n, p), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.025, 0.05 / 6, 5.4e-5])
def test_critical_wins_are_the_fewest_that_pass(alpha):
    for n, wins in enumerate(critical_wins(alpha).upto(200)[:201]):
        assert wins > n or sign_test(wins, n - wins) < alpha
        assert sign_test(wins - 1, n - wins + 1) >= alpha if wins - 1 <= n else wins == n + 1


def test_normal_quantile_is_finite_at_the_ends():
    assert normal_quantile(0.975) == pytest.approx(stats.norm.ppf(0.975))
    assert math.isfinite(normal_quantile(1.0))
    assert math.isfinite(normal_quantile(0.0))
