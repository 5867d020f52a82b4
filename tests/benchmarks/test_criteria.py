"""The criteria for stochastic solvers against what must hold of them."""

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.criteria import (
    Ends,
    bound,
    coupled_energy,
    criteria,
    moments,
    pair_mean,
    row,
)
from align_your_steps.benchmarks.metrics import energy_distance
from align_your_steps.optimizer import klub, measure_profile
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.profile.klub import Landscape

TOP = 10.0


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_criterion_of_the_fine_run_itself_is_zero():
    x = normal(32, 3, seed=0)
    found = criteria(Ends(x, x, x, x, x, x), 16, 1)
    assert len(found["twin"]) == 2
    assert all(abs(value) < 1e-12 for values in found.values() for value in values)


def test_parts_of_one_sample_are_rows_side_by_side():
    x, y = normal(32, 3, seed=0), normal(32, 3, seed=1)
    parts = criteria(Ends(x, y, x, y, x, y), 8, 4)
    wide = [one.reshape(8, 12) for one in (x, y)]
    whole = criteria(Ends(*(wide * 3)), 8, 1)
    assert parts == whole


def test_coupled_energy_is_unbiased_and_less_noisy_than_that_of_independent_samples():
    """y = x + noise is one distribution wider than another, whatever they share."""
    coupled, apart = [], []
    for k in range(200):
        x = normal(24, 2, seed=2 * k)
        y = normal(24, 2, seed=2 * k + 1)
        coupled.append(pair_mean(coupled_energy(1.3 * x, x)))
        apart.append(energy_distance(1.3 * x, y).value)
    difference = np.mean(coupled) - np.mean(apart)
    error = np.hypot(np.std(coupled), np.std(apart)) / 200**0.5
    assert abs(difference) < 4 * error
    assert np.std(coupled) < 0.7 * np.std(apart)


def test_moments_are_blind_to_which_sample_is_which_and_see_shift_and_scale():
    x = normal(64, 3, seed=0)
    assert moments(x.flip(0), x) == pytest.approx(0.0, abs=1e-12)
    assert moments(x + 0.5, x) == pytest.approx(0.5)
    centred = x - x.mean(0)
    assert moments(2.0 * centred, centred) == pytest.approx(float(x.var(0).mean() ** 0.5))


def test_first_order_bound_is_the_klub():
    profile = measure_profile(gaussian.denoise, normal(64, 4, seed=0), spread(TOP, 0.05, 24))
    schedule = np.array([TOP, 2.0, 0.7, 0.2, 0.0])
    ours = bound(Landscape.of(profile), schedule, order=1)
    assert ours == pytest.approx(klub(profile, np.append(schedule[:-1], 0.05)), rel=1e-6)


def test_report_row_follows_the_order_of_a_constructed_pool():
    schedules = [
        {"kind": "fixed", "name": "a", "energy": 0.4, "z": 0.0},
        {"kind": "refined", "name": "b", "energy": 0.1, "z": -5.0},
        {"kind": "blend", "name": "c", "energy": 0.8, "z": 5.0},
    ]
    chosen = {"good": [1, 1], "bad": [2, 2], "half": [1, 2]}
    found = {name: {"rank correlation": 1.0, "chosen": some} for name, some in chosen.items()}
    cell = {"schedules": schedules, "floor": 0.2, "best fixed": 0, "criteria": {"16": found}}
    assert row([cell], "16", "good")[1:] == pytest.approx([0.5, 1.0, 0.0, 1.0, 0.5])
    assert row([cell], "16", "bad")[1:] == pytest.approx([2.0, 4.0, 1.0, 0.0, 2.0])
    assert row([cell], "16", "half")[1:] == pytest.approx([1.0, 2.0, 0.5, 0.5, 1.0])
    assert row([cell], "16", "always a")[1:3] == pytest.approx([1.0, 2.0])
