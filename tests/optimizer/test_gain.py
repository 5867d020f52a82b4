"""The gain that is told: on noise that had no part in choosing, with an interval that holds."""

import math

import numpy as np
import pytest
from align_your_steps.optimizer import Gain


def test_gain_of_one_over_one_is_the_geometric_mean_of_ratios():
    gain = Gain.of([[1.0, 2.0, 3.0]], [[2.0, 2.0, 12.0]])
    assert gain.ratio == pytest.approx((0.5 * 1.0 * 0.25) ** (1 / 3))
    assert gain.low < gain.ratio < gain.high
    assert (gain.improved, gain.noises, gain.sure) == (pytest.approx(2 / 3), 3, False)


def test_a_gain_is_claimed_where_its_whole_interval_lies_below_1():
    sure = Gain.of([[1.0, 1.1, 0.9]], [[2.0, 2.0, 2.0]])
    unsure = Gain.of([[1.0, 3.0, 0.5]], [[2.0, 2.0, 2.0]])
    assert sure.claimed and sure.ratio == pytest.approx(0.5, abs=0.01)
    assert unsure.ratio < 0.7 and not unsure.claimed
    assert not Gain.of([[1.0]], [[2.0]]).claimed


def test_gain_of_the_luckiest_of_many_equals_is_none():
    """Their least mean is far below any other's, but on other noise it is one of them."""
    generator = np.random.default_rng(0)
    told = []
    for _ in range(300):
        errors = np.exp(generator.normal(size=(20, 10)))
        told.append(math.log(Gain.of(errors[1:], errors[:1]).ratio))
        lucky = np.log(errors[1:]).mean(1).min() - np.log(errors[0]).mean()
        assert lucky < told[-1] + 1e-9
    assert abs(np.mean(told)) < 4.0 * np.std(told) / len(told) ** 0.5


def test_interval_holds_nine_times_in_ten_also_where_ratios_are_skew():
    generator = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        rare = generator.random(12) < 0.1
        logs = generator.normal(-1.5, 0.4, 12) + 1.5 * rare
        gain = Gain.of([np.exp(logs)], [np.ones(12)])
        held.append(gain.low <= math.exp(-1.5 + 0.15) <= gain.high)
    assert 0.85 < np.mean(held) < 0.99


def test_noises_that_chose_who_is_among_them_tell_nothing():
    ours, theirs = [[0.001, 1.0, 1.0]], [[1.0, 2.0, 2.0]]
    assert Gain.of(ours, theirs, after=1).ratio == pytest.approx(0.5)
    assert Gain.of(ours, theirs, after=1).noises == 2
    assert Gain.of(ours, theirs).ratio < 0.1


def test_single_noise_has_a_ratio_and_no_interval():
    gain = Gain.of([[1.0]], [[2.0]])
    assert (gain.ratio, gain.low, gain.high) == (0.5, 0.0, math.inf)


def test_gain_of_values_that_only_add_up_is_the_ratio_of_their_means():
    gain = Gain.of_means([[-1.0, 2.0, 5.0]], [[4.0, 4.0, 4.0]])
    assert gain.ratio == pytest.approx(0.5)
    assert gain.low <= 0.5 <= gain.high


def test_errors_of_nothing_are_no_error():
    assert math.isfinite(Gain.of([[0.0, 0.0]], [[1.0, 1.0]]).ratio)
    nothing = Gain.of_means([[0.0, 0.0]], [[0.0, 0.0]])
    assert (nothing.ratio, nothing.low, nothing.high) == (1.0, 1.0, 1.0)
    assert Gain.of_means([[1.0, 1.0]], [[1.0, -1.0]]).ratio > 1.0


def test_errors_of_any_size_have_an_interval():
    gain = Gain.of([[1e-12, 1e30]], [[1.0, 1.0]])
    assert gain.low < gain.ratio < gain.high
