"""The family of multistep samplers, and its textbook points."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import FLOW, builtin_solver
from align_your_steps.optimizer.diffusion.multistep import (
    TEXTBOOK,
    Multistep,
    exponential,
    textbook,
)
from scipy.integrate import quad
from torch import Tensor

MIXTURE = Mixture.random(16, 5, seed=3)
NOISE = torch.randn(4, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LEVELS = {
    "uneven": [80.0, 30.0, 8.0, 7.0, 1.1, 0.89, 0.3, 0.1, 0.0],
    "few": [14.6, 0.7, 0.0],
    "one": [14.6, 0.0],
    "ends above 0": [14.6, 3.0, 0.9, 0.4, 0.03],
}
each_levels = pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)


@each_levels
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m"])
def test_textbook_sampler_is_the_built_in_one(name: str, levels: list[float]) -> None:
    solver = builtin_solver(name, MIXTURE.denoise)
    expected = solver(NOISE, torch.tensor(levels, dtype=torch.float64), 0)
    torch.testing.assert_close(textbook(name, levels)(MIXTURE.denoise, NOISE), expected)


@each_levels
def test_exponential_rows_integrate_polynomials_exactly(levels: list[float]) -> None:
    """A denoiser that is a parabola in -log t is solved exactly once three outputs are there."""

    def D(x: Tensor, sigma: Tensor) -> Tensor:
        clock = -sigma.log()[:, None]
        return (1.0 + 2.0 * clock - 0.5 * clock**2).expand_as(x)

    sampler = textbook("exponential_3", levels)
    for i, row in enumerate(sampler.weights):
        t, t_next = levels[i], levels[i + 1]
        if len(row) < 3 or t_next == 0.0:
            continue
        outputs = [D(NOISE, NOISE.new_full((4,), s)) for s in levels[i::-1][:3]]
        x = sampler.step(i, NOISE, outputs)
        integral = quad(
            lambda u: math.exp(u) * (1.0 + 2.0 * u - 0.5 * u * u), -math.log(t), -math.log(t_next)
        )[0]
        torch.testing.assert_close(x, t_next / t * NOISE + t_next * integral)


def test_exponential_of_order_2_is_res() -> None:
    """b = (1 - φ2 / (φ1 c), φ2 / (φ1 c)) with c = -h_{i-1} / h_i: arXiv 2308.02157."""
    levels = LEVELS["uneven"]
    for i, row in enumerate(exponential(levels, 2)[1:-1], start=1):
        h = math.log(levels[i] / levels[i + 1])
        phi_1 = math.expm1(-h) / -h
        phi_2 = (phi_1 - 1.0) / -h
        c = -math.log(levels[i - 1] / levels[i]) / h
        assert row == pytest.approx([1.0 - phi_2 / phi_1 / c, phi_2 / phi_1 / c])


@each_levels
def test_ipndm_is_adams_bashforth_on_its_slopes(levels: list[float]) -> None:
    x, slopes = levels[0] * NOISE, []
    a = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
    for i, (t, t_next) in enumerate(pairwise(levels)):
        D = MIXTURE.denoise(x, x.new_full((4,), t))
        slopes = [(x - D) / t, *slopes]
        slope = sum(w * d for w, d in zip(a[min(i, 3)], slopes, strict=False))
        x = D if t_next == 0 else x + (t_next - t) * slope
    torch.testing.assert_close(textbook("ipndm", levels)(MIXTURE.denoise, NOISE), x)


def moment(k: int, h: float) -> float:
    """The integral of u^k e^{-h (1 - u)} over a step."""
    return float(quad(lambda u: u**k * math.exp(-h * (1.0 - u)), 0.0, 1.0)[0])


@pytest.mark.parametrize("order", [2, 3])
@each_levels
def test_unipc_predicts_and_corrects(order: int, levels: list[float]) -> None:
    """The algorithm itself (arXiv 2302.04867, with B(h) = e^h - 1): the state is corrected with the
    output at its prediction. That of step i + 1 serves both, so it is one call a step.
    """
    order, n = min(order, max(1, len(levels) - 2)), len(levels) - 1
    clock = [-math.log(t) if t else math.inf for t in levels]
    x = levels[0] * NOISE
    outputs = [MIXTURE.denoise(x, x.new_full((4,), levels[0]))]
    for i in range(n):
        p = min(order, i + 1, n - i)
        h = clock[i + 1] - clock[i]
        if math.isinf(h):
            x = outputs[-1]
            break
        base = math.exp(-h) * x - math.expm1(-h) * outputs[-1]
        ratios = [(clock[i - k] - clock[i]) / h for k in range(1, p)]
        D1 = [(outputs[-1 - k] - outputs[-1]) / r for k, r in zip(range(1, p), ratios, strict=True)]
        # The integrals of u^k e^{-h (1 - u)}, over those of 1.
        right = [moment(k, h) * h / -math.expm1(-h) for k in range(1, p + 1)]
        rho = [0.5] * (p - 1)
        if p > 2:
            rho = np.linalg.solve(np.vander(ratios, p - 1, True).T, right[:-1])
        predicted = base - math.expm1(-h) * sum(
            (w * d for w, d in zip(rho, D1, strict=True)), torch.zeros_like(x)
        )
        if i + 1 == n:
            x = predicted
            break
        outputs.append(MIXTURE.denoise(predicted, x.new_full((4,), levels[i + 1])))
        D1.append(outputs[-1] - outputs[-2])
        rho = np.linalg.solve(np.vander([*ratios, 1.0], p, True).T, right) if p > 1 else [0.5]
        x = base - math.expm1(-h) * sum(w * d for w, d in zip(rho, D1, strict=True))
    got = textbook(f"unipc_{order}" if order > 1 else "unipc_2", levels)(MIXTURE.denoise, NOISE)
    torch.testing.assert_close(got, x)


@each_levels
@pytest.mark.parametrize("name", TEXTBOOK)
def test_every_textbook_row_adds_up_to_1(name: str, levels: list[float]) -> None:
    for row in textbook(name, levels).weights:
        assert sum(row) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "order"),
    [("euler", 1), ("dpmpp_2m", 2), ("exponential_3", 3), ("unipc_2", 3), ("unipc_3", 4)],
)
def test_order_of_convergence_on_gaussian_data(name: str, order: int) -> None:
    """x(t) = x_0 sqrt((1 + t²) / (1 + t_0²)) in closed form; twice the steps, 2^-order the error.

    UniPC's corrector gains an order, as its paper says. Between levels above 0: the last step to 0
    is of first order for all.
    """

    def error(steps: int) -> float:
        levels = np.geomspace(5.0, 0.3, steps + 1).tolist()
        sampler = textbook(name, levels)
        # Only the order inside: the first and the last steps are of lower order.
        x = sampler(lambda x, s: x / (1.0 + s[:, None] ** 2), torch.ones(1, 1, dtype=torch.float64))
        return abs(float(x) / 5.0 - math.sqrt((1 + 0.3**2) / (1 + 5.0**2)))

    assert math.log2(error(80) / error(160)) > min(order, 2) - 0.25


@pytest.mark.parametrize("name", TEXTBOOK)
def test_weights_are_the_same_for_a_flow(name: str) -> None:
    """For x = (1 - s) x_0 + s e the EDM step is x' = s'/s x + (1 - s'/s) Σ b D."""
    s = np.array([0.999, 0.9, 0.7, 0.4, 0.2, 0.05, 0.0])
    sampler = textbook(name, FLOW.edm(s).tolist())
    expected = sampler(MIXTURE.denoise, NOISE)

    x, outputs = s[0] * NOISE, []  # what the host starts from: (1 - s) t = s
    for i, row in enumerate(sampler.weights):
        t = s[i] / (1.0 - s[i])
        outputs = [MIXTURE.denoise(x / (1.0 - s[i]), x.new_full((4,), t)), *outputs]
        r = s[i + 1] / s[i]
        x = r * x + (1.0 - r) * sum(b * D for b, D in zip(row, outputs, strict=False))
    torch.testing.assert_close(x, expected)


def test_told_levels_are_what_the_denoiser_is_given() -> None:
    given: list[float] = []

    def D(x: Tensor, sigma: Tensor) -> Tensor:
        given.append(float(sigma[0]))
        return MIXTURE.denoise(x, sigma)

    Multistep((10.0, 1.0, 0.0), (9.0, 1.5), ((1.0,), (1.25, -0.25)))(D, NOISE)
    assert given == [9.0, 1.5]


@pytest.mark.parametrize("name", TEXTBOOK)
def test_plain_data_is_exact(name: str) -> None:
    sampler = textbook(name, LEVELS["uneven"])
    assert Multistep.from_plain(json.loads(json.dumps(sampler.to_plain()))) == sampler


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Multistep((1.0,), (), ()),
        lambda: Multistep((1.0, 2.0), (1.0,), ((1.0,),)),
        lambda: Multistep((1.0, -1.0), (1.0,), ((1.0,),)),
        lambda: Multistep((1.0, 0.0), (1.0,), ((1.0, 0.0),)),
        lambda: Multistep((1.0, 0.0), (1.0,), ((),)),
        lambda: Multistep((1.0, 0.0), (math.nan,), ((1.0,),)),
        lambda: textbook("euler_a", [1.0, 0.0]),
    ],
)
def test_what_is_no_sampler_is_refused(wrong: Callable[[], Multistep]) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        wrong()
