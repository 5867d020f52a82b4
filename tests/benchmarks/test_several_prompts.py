"""The benchmark of several prompts: rows that take turns are what each class alone gives."""

from __future__ import annotations

import pytest
import torch
from align_your_steps.benchmarks.edm import guided
from align_your_steps.benchmarks.evidence.networks import NETWORKS
from align_your_steps.benchmarks.several_prompts import Classes


@pytest.mark.parametrize("scale", [3.0, 7.0])
def test_each_row_is_that_of_its_own_class(scale: float) -> None:
    trained = NETWORKS["digits"]
    model, labels = trained.load(), [4, 7, 1]
    x = 2.0 * torch.randn(5, *trained.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.full((5,), 2.0)
    turns = Classes(model, labels, scale)
    with turns.conditions.of(range(7, 12)):
        together = turns(x, sigma)
    for row, number in enumerate(range(7, 12)):
        alone = guided(model, labels[number % 3], scale)(x[row : row + 1], sigma[:1])
        assert torch.allclose(together[row : row + 1], alone, atol=1e-4)
