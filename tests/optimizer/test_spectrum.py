"""Distributions of stochastic samples on Gaussian data, and the schedule of least error."""

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import power_law
from align_your_steps.optimizer.diffusion.coordinate import VE, Coordinate
from align_your_steps.optimizer.fit import spectrum
from align_your_steps.optimizer.fit.spectrum import (
    deviations,
    gaussian_candidate,
    gaussian_errors,
    output_variances,
)
from align_your_steps.optimizer.judging.select import Candidate
from align_your_steps.schedules.curves import discrete_table, hand_made

TABLE = discrete_table()
HIGH, LOW = TABLE.sigma_max, TABLE.sigma_min
DATA = power_law(8)
STARTS = [Candidate(name, torch.as_tensor(s).float()) for name, s in hand_made(6, TABLE).items()]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def error(levels: np.ndarray) -> float:
    """The criterion, exactly, on DATA."""
    return float(np.linalg.norm(gaussian_errors("ddim_stochastic", levels, DATA.variances.sqrt())))


@pytest.mark.parametrize("chunk", [2**16, 3])
def test_deviations_are_those_of_the_covariance(monkeypatch, chunk):
    monkeypatch.setattr(spectrum, "CHUNK", chunk)
    x = normal(5, 2, 4)
    values = np.linalg.eigvalsh(np.cov(x.flatten(1).numpy().T))
    assert deviations(x).square().numpy() == pytest.approx(values[-4:])


@pytest.mark.parametrize("solver", ["ddim_stochastic", "dpmpp_2m_sde"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_errors_are_those_of_the_solver_run_on_gaussian_data(solver, steps):
    sigmas = torch.from_numpy(np.append(np.geomspace(HIGH, LOW, steps), 0.0))
    variances = output_variances(solver, DATA.denoise, sigmas, 8)
    expected = variances.sqrt() - DATA.variances.sqrt()
    found = gaussian_errors(solver, sigmas.numpy(), DATA.variances.sqrt())
    assert found == pytest.approx(expected.double().numpy(), abs=2e-6)


def test_error_of_two_steps_is_the_recursion_done_by_hand():
    s, t, c = 8.0, 0.7, 1.5
    (found,) = gaussian_errors("ddim_stochastic", np.array([s, t, 0.0]), torch.tensor([c]).double())
    middle = ((c**2 + t**2) / (c**2 + s**2)) ** 2 * s**2 + t**2 * (1 - t**2 / s**2)
    assert found == pytest.approx(c**2 / (c**2 + t**2) * middle**0.5 - c)


def test_schedule_found_loses_less_than_any_start_and_no_level_moved_gains():
    ends = normal(400, 8) * DATA.variances.sqrt()
    found = gaussian_candidate("ddim_stochastic", ends, STARTS, VE, LOW).sigmas.double().numpy()
    assert found[0] == pytest.approx(HIGH)
    assert found[-1] == 0.0 < LOW <= found[-2]
    least = min(error(start.sigmas.double().numpy()) for start in STARTS)
    assert error(found) < 0.85 * least
    for k in range(1, 6):
        for factor in (0.9, 1.1):
            moved = found.copy()
            moved[k] *= factor
            assert error(moved) > error(found)


@pytest.mark.parametrize("start", [k for k, one in enumerate(STARTS) if "quad" not in one.name])
def test_search_finds_the_same_from_every_start(start):
    ends = normal(400, 8) * DATA.variances.sqrt()
    one, other = (
        gaussian_candidate("ddim_stochastic", ends, starts, VE, LOW).sigmas
        for starts in (STARTS, STARTS[start : start + 1])
    )
    assert torch.allclose(one[:-1].log(), other[:-1].log(), atol=0.02)


def test_schedule_found_has_levels_that_the_model_knows():
    coordinate = Coordinate(lambda s: s, lambda t: t, table=TABLE.sigmas)
    ends = normal(24, 8) * DATA.variances.sqrt()
    found = gaussian_candidate("ddim_stochastic", ends, STARTS, coordinate, LOW).sigmas
    assert np.isin(found[1:-1].numpy(), TABLE.sigmas.astype(np.float32)).all()
