"""Unit noise: a function of (seed, stream, index) alone."""

import torch
from align_your_steps.optimizer.diffusion.noise import PATHS, SELECTION, generators, unit_noise


def test_noise_of_an_index_does_not_depend_on_its_neighbours():
    together = unit_noise(generators(3, PATHS, range(5)), (2, 4))
    for index in range(5):
        alone = unit_noise(generators(3, PATHS, [index]), (2, 4))
        assert torch.equal(together[index], alone[0])


def test_seeds_streams_indices_and_draws_all_differ():
    sources = [
        *generators(0, PATHS, [0, 1]),
        *generators(1, PATHS, [0, 1]),
        *generators(0, SELECTION, [0, 1]),
    ]
    drawn = torch.cat([unit_noise(sources, (8,)), unit_noise(sources, (8,))])
    assert len(torch.unique(drawn, dim=0)) == 12


def test_noise_is_standard_normal_and_independent_between_indices():
    n = 50_000
    noise = unit_noise(generators(0, SELECTION, range(4)), (n,)).double()
    assert (noise.mean(1).abs() < 4.5 / n**0.5).all()
    assert ((noise.var(1) - 1).abs() < 4.5 * (2 / n) ** 0.5).all()
    correlation = torch.corrcoef(noise) - torch.eye(4, dtype=torch.float64)
    assert correlation.abs().max() < 4.5 / n**0.5
