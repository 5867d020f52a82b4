"""The overhead benchmark: its denoisers, what it counts, and its arithmetic, by a clock of ours."""

import pytest
import torch
from align_your_steps.benchmarks import overhead
from align_your_steps.benchmarks.overhead import MEAN, STD, Case, Network, Timed, near_two_values
from align_your_steps.optimizer.judging.references import References
from torch.distributions import Normal

BUDGET = 600
BESIDE = 0.25  # seconds outside the denoiser that the clock below shows a call


class Clock:
    """Shows what it was last set to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def ticking(clock, seconds):
    """A denoiser whose every call takes so long by this clock."""

    def denoise(x, sigma):
        clock.now += seconds
        return near_two_values(x, sigma)

    return denoise


@pytest.fixture(scope="module")
def phases():
    """The phases that a small optimisation told, and what its denoiser counted."""
    torch.set_num_threads(1)
    told, timed = [], Timed(near_two_values, Clock())
    result = overhead.optimised(timed, (2, 4), BUDGET, lambda phase, _: told.append(phase))
    return told, timed, result


def test_network_is_the_same_every_time_and_leaves_the_generator_alone():
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    first, second = (Network(4)(x, torch.tensor([0.5, 2.0])) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_network_sees_the_noise_level_and_changes_nothing_where_there_is_none():
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    low, high = (Network(4)(x, torch.tensor([t])) for t in (1e-6, 2.0))
    torch.testing.assert_close(low, x, rtol=0, atol=1e-4)
    assert (high - x / (1 + 2.0**2)).abs().max() > 0.01


@pytest.mark.parametrize("t", [0.05, 0.4, 2.0, 14.6])
def test_ideal_denoiser_is_bayes_rule(t):
    x = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
    total = STD**2 + t**2
    weights = [Normal(sign * MEAN, total**0.5).log_prob(x).exp() for sign in (-1, 1)]
    means = [(STD**2 * x + sign * t**2 * MEAN) / total for sign in (-1, 1)]
    expected = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    found = near_two_values(x[None], torch.tensor([t], dtype=torch.float64))[0]
    torch.testing.assert_close(found, expected)


def test_timed_counts_what_the_optimiser_counts(phases):
    _, timed, result = phases
    assert timed.rows == result.total_calls


def test_an_optimisation_that_takes_no_time_of_its_own_has_no_overhead():
    clock = Clock()
    case = Case("", (2, 4), lambda: ticking(clock, 0.5))
    found = overhead.measured(case, BUDGET, clock)
    assert found["over_bare"] == found["over_inside"] == 1.0
    assert found["outside"] == 0.0
    assert found["total"] == 0.5 * found["calls"]
    assert found["rows"] == found["rows_a_call"] * found["calls"] <= BUDGET


def test_time_outside_the_calls_is_the_overhead(monkeypatch):
    clock = Clock()
    optimised = overhead.optimised

    def slow(timed, shape, budget):
        optimised(timed, shape, budget)
        clock.now += BESIDE * timed.calls

    monkeypatch.setattr(overhead, "optimised", slow)
    case = Case("", (2, 4), lambda: ticking(clock, 0.5))
    found = overhead.measured(case, BUDGET, clock)
    assert found["outside"] == BESIDE * found["calls"]
    assert found["over_bare"] == found["over_inside"] == (0.5 + BESIDE) / 0.5


def test_bare_calls_have_the_rows_of_those_inside():
    rows, clock = [], Clock()

    def counted(x, sigma):
        rows.append(len(x))
        clock.now += 1.0
        return near_two_values(x, sigma)

    found = overhead.measured(Case("", (2, 4), lambda: counted), BUDGET, clock)
    assert set(rows) == {found["rows_a_call"]}


def test_refinement_noises_are_those_of_the_tracks(phases, monkeypatch):
    told, timed, _ = phases
    kept = []
    tracked = References.add_tracked

    def spy(self, check=None):
        found = tracked(self, check)
        kept.append(found[0].x.shape)
        return found

    monkeypatch.setattr(References, "add_tracked", spy)
    result = overhead.optimised(near_two_values, (2, 4), BUDGET)
    levels, noises = kept[0][0], sum(shape[1] for shape in kept)
    assert overhead.refinement_noises(told, timed.rows // timed.calls) == noises
    assert result.reference_steps == levels


def test_tables_have_a_line_a_case_and_the_bytes_of_the_tracks():
    time = {
        "rows_a_call": 3, "rows": 3000, "calls": 1000, "total": 21.0, "inside": 20.0,
        "outside": 2.0, "bare_before": 0.02, "bare_after": 0.02,
        "over_bare": 1.05, "over_inside": 1.05,
    }  # fmt: skip
    memory = {"plain": 100 * 2**20, "optimised": 150 * 2**20, "arrays": 30 * 2**20}
    memory |= {"reference_steps": 64, "noises": 8}
    machine = {"commit": "c" * 40, "changed": False, "cores": 2, "processor": "p", "threads": 1}
    machine |= {"torch": "t", "python": "3"}
    names = {"large": 10**6, "small": 64}
    cases = [
        {"name": name, "elements": elements, "time": time, "memory": memory}
        for name, elements in names.items()
    ]
    head = {"machine": machine, "command": "python -m it", "budget": 4000}
    text = overhead.report({**head, "clock": "wall", "load": 1.0, "cases": cases})
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()]
    (time_of, memory_of), (_, small) = ([r for r in rows if r[0] == name] for name in names)
    assert time_of[7:] == ["2000", "1.050", "1.050", "1.100"]
    # 2 x 64 x 8 x 512 doubles are 4 MB, of 64 elements an eighth of that
    assert memory_of[3:] == ["50", "30", "4.0", "64", "8"]
    assert small[5] == "0.5"
    assert "`python -m it`, commit cccccccccccc, 2 cores" in text
