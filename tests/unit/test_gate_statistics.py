"""The facade: which test decides, intervals that agree with verdicts, invariances, the bootstrap."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_promptopt.gate.exact import sign_flip_p
from langchain_promptopt.gate.statistics import Studentized, alpha_at, exceeds, resamples_for, spread, studentized

binary = st.lists(st.sampled_from((-1.0, 0.0, 0.0, 1.0)), min_size=6, max_size=80)
fractions = st.lists(st.integers(-6, 6).map(lambda k: k / 6), min_size=6, max_size=40)
reals = st.lists(st.floats(-1, 1).map(lambda d: round(d, 12)), min_size=6, max_size=40)
margins = st.sampled_from((0.0, 0.05, -0.05))


def ask(differences, margin=0.0, alpha=0.025, resamples=399):
    return exceeds(differences, margin, alpha, Random(0), resamples=resamples)


def test_levels_of_all_openings_sum_to_alpha():
    assert alpha_at(0.05, 1) == 0.025
    assert alpha_at(0.05, 30) == pytest.approx(0.05 / 930)
    assert math.fsum(alpha_at(0.05, k) for k in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)


@given(binary | fractions | reals, margins, st.sampled_from((0.025, 0.0083)))
@settings(max_examples=120, deadline=None)
def test_the_interval_never_contradicts_the_verdict(differences, margin, alpha):
    found = ask(differences, margin, alpha)
    assert -1 <= found.lower <= found.upper <= 1
    if found.p_value < alpha:
        assert found.lower >= margin
    else:
        assert found.lower <= margin


@given(binary | fractions | reals, margins, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_of_rows_does_not_matter(differences, margin, random):
    mixed = list(differences)
    random.shuffle(mixed)
    assert ask(mixed, margin) == ask(differences, margin)


@given(reals, st.sampled_from((0.5, 0.25)))
@settings(max_examples=40, deadline=None)
def test_scale_does_not_matter_to_the_sign_flips(differences, scale):
    """Halving is exact in floating point, so the studentized ratios are the same to the last bit."""
    whole, part = ask(differences), ask([d * scale for d in differences])
    if whole.method == part.method == "sign-flip permutation":
        assert part.p_value == pytest.approx(whole.p_value, abs=2e-3)


def test_binary_scores_are_decided_by_the_sign_test():
    found = ask([1.0] * 8 + [-1.0] + [0.0] * 30)
    assert (found.method, found.p_value) == ("sign test", 10 / 512)
    assert found.lower >= 0


def test_the_exact_test_overrules_tangos_interval_where_they_differ():
    """4-0 has z = 2, but only p = 1/16: the interval may not exclude 0."""
    found = ask([1.0] * 4 + [0.0] * 40)
    assert found.p_value == 1 / 16
    assert found.lower == 0.0


def test_binary_scores_at_a_margin_take_the_score_test():
    found = ask([1.0] * 20 + [0.0] * 60, margin=0.05)
    assert found.method == "paired score test"
    assert found.p_value < 0.025 < ask([1.0] * 8 + [0.0] * 72, margin=0.05).p_value


def test_continuous_scores_take_the_larger_of_two_p_values_and_at_a_margin_the_bootstrap():
    rng = Random(4)
    differences = [rng.gauss(0.1, 0.2) for _ in range(60)]
    plain, margin = ask(differences), ask(differences, margin=0.05)
    assert plain.p_value >= sign_flip_p(sorted(differences))  # both tests must reject
    assert plain.p_value < 0.025
    assert margin.method == "studentized bootstrap"


def test_few_unlike_clusters_are_counted_as_whole_pairs():
    """Resampling 3 clusters that moved among 100 says nothing; nor does a third of a gain count as one."""
    found = ask([1 / 3] * 3 + [0.0] * 97, margin=0.02)
    assert found.method == "paired score test"
    assert found.p_value > 0.5


def test_a_guard_holds_when_nothing_moved_on_enough_rows():
    assert ask([0.0] * 100, margin=-0.05).p_value < 0.025
    assert ask([0.0] * 40, margin=-0.05).p_value > 0.025


def test_seen_large_losses_veto_many_small_gains():
    """Sign-flips alone find a gain here, though two more rows like the last would end it."""
    differences = [0.04] * 39 + [-0.36]
    assert sign_flip_p(differences) < 0.025
    found = ask(differences)
    assert found.p_value >= 0.025
    assert not found.agrees
    assert found.method == "paired score test"


def test_equal_gains_are_worth_what_unseen_failures_leave_of_them():
    """A share of 1 in 11 that falls from 1 to 0 undoes a gain of 0.1, and 30 rows miss it with 5.7 %."""
    found = ask([0.1] * 30)
    assert found.p_value == pytest.approx((10 / 11) ** 30)
    assert found.undone_by == pytest.approx(1 / 11)
    assert not found.agrees
    assert found.lower < 0 < found.upper
    more = ask([0.1] * 60)
    assert (more.p_value, more.undone_by) == (pytest.approx((10 / 11) ** 60), None)
    assert more.lower > 0


def outright(rng, gains, loss, share):
    """A gain on most rows, an outright failure on a share of them."""
    return -loss if rng.random() < share else gains(rng)


UNEVEN = {
    "gains of about .01, -.5 on 1 in 51": (lambda r: outright(r, lambda r: r.uniform(0.005, 0.015), 0.5, 1 / 51), 0.0),
    "gains of .01 and .02": (lambda r: outright(r, lambda r: r.choice((0.01, 0.02)), 0.5, 0.015 / 0.515), 0.0),
    "half ties": (lambda r: outright(r, lambda r: r.choice((0.0, 0.02)), 0.5, 1 / 51), 0.0),
    "gains of about .1, -.9 on 1 in 10": (lambda r: outright(r, lambda r: r.uniform(0.08, 0.12), 0.9, 0.1), 0.0),
    "a guard at its margin": (lambda r: outright(r, lambda r: r.uniform(-0.001, 0.001), 0.6, 1 / 12), -0.05),
}


@pytest.mark.parametrize("name", UNEVEN)
@pytest.mark.parametrize("n", [12, 40, 100])
def test_small_gains_everywhere_and_rare_outright_failures_pass_at_most_at_the_level(name, n):
    """The mean is the margin exactly. Without regard to unseen failures 8 to 78 % of most of these pass."""
    draw, margin = UNEVEN[name]
    rng = Random(f"{name}/{n}")
    found = [ask([draw(rng) for _ in range(n)], margin, resamples=99) for _ in range(40)]
    assert sum(f.p_value < 0.025 for f in found) <= 3  # P(4 or more of 40 at 2.5 %) = 0.02
    assert sum(f.lower > margin for f in found) <= 3


def test_the_upper_limit_knows_that_gains_may_be_rare_too():
    """The mirror image: losses of .01 everywhere may hide a gain of 1 on 1 row in 100."""
    found, mirror = ask([-0.01 - i / 1e5 for i in range(40)]), ask([0.01 + i / 1e5 for i in range(40)])
    assert found.upper == pytest.approx(-mirror.lower, abs=2e-3)
    assert found.upper > 0.05


def test_failures_cost_what_bounds_say():
    """The same gains pass where an outright failure costs a tenth of the scale."""
    differences = [0.03 + 0.001 * (i % 7) for i in range(40)]
    at_most = exceeds(differences, 0.0, 0.025, Random(0), resamples=399, bounds=(-0.1, 0.1))
    assert at_most.p_value < 0.025 < ask(differences).p_value
    assert at_most.lower > 0 > ask(differences).lower


def test_no_rows_are_no_evidence():
    found = ask([])
    assert (found.p_value, found.lower, found.upper) == (1.0, -1.0, 1.0)


def test_bootstrap_matches_students_t_for_normal_scores():
    rng = Random(9)
    differences = [rng.gauss(0.2, 1.0) for _ in range(60)]
    boot = studentized(differences, Random(1), 20_000)
    low, high = boot.interval(0.025)
    half = 2.001 * spread(differences) / math.sqrt(60)
    assert low == pytest.approx(boot.mean - half, abs=0.04)
    assert high == pytest.approx(boot.mean + half, abs=0.04)


def test_bootstrap_is_wider_on_the_side_of_the_tail():
    """A mean of skewed scores is more often far below the truth than far above it."""
    rng = Random(3)
    differences = [min(1.0, rng.expovariate(4)) for _ in range(40)]
    boot = studentized(differences, Random(1), 4_000)
    low, high = boot.interval(0.025)
    assert high - boot.mean > 1.1 * (boot.mean - low)


def test_each_ratio_is_the_t_statistic_of_a_resample():
    differences = [0.1, -0.2, 0.4, 0.35, 0.0, 0.9, -0.1, 0.25]
    rng, mean = Random(7), fmean(differences)
    samples = [rng.choices(differences, k=8) for _ in range(50)]
    expected = sorted((fmean(s) - mean) / (stdev(s) / math.sqrt(8)) for s in samples)
    boot = studentized(differences, Random(7), 50)
    assert boot.ratios == pytest.approx(expected)
    assert boot.error == pytest.approx(stdev(differences) / math.sqrt(8))


@pytest.mark.parametrize("alpha", [0.025, 0.05, 0.1])
@given(differences=st.lists(st.floats(-1, 1), min_size=8, max_size=30, unique_by=lambda d: round(d, 3)))
@settings(max_examples=30, deadline=None)
def test_bootstrap_limits_are_where_the_test_turns(alpha, differences):
    boot = studentized(differences, Random(0), 199)
    low, high = boot.interval(alpha)
    above = Studentized(-boot.mean, boot.error, tuple(sorted(-r for r in boot.ratios)))
    assert boot.p_above(low + 1e-9) >= alpha > boot.p_above(low - 1e-9)
    assert above.p_above(-high + 1e-9) >= alpha > above.p_above(-high - 1e-9)


def test_too_few_resamples_give_no_limit_rather_than_a_wrong_one():
    boot = studentized([0.1, 0.2, 0.3, 0.5], Random(0), 19)
    assert boot.interval(0.001) == (-math.inf, math.inf)


def test_resamples_grow_with_the_level_and_stay_affordable():
    assert resamples_for(0.025, 100) == 1_999
    assert 50_000 <= resamples_for(5.4e-5, 100) <= 100_000
    assert resamples_for(5.4e-5, 100_000) >= 3 / 5.4e-5
