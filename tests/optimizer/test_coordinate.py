"""Host levels and EDM levels."""

import numpy as np
import pytest
from align_your_steps.optimizer import FLOW, VE
from align_your_steps.optimizer.coordinate import FLOW_TOP, spread

LEVELS = np.array([1e-4, 0.01, 0.5, 0.9, FLOW_TOP])


@pytest.mark.parametrize("coordinate", [VE, FLOW])
def test_coordinate_and_its_inverse_undo_each_other(coordinate):
    edm = coordinate.edm(LEVELS)
    assert (np.diff(edm) > 0).all()
    assert coordinate.level(edm) == pytest.approx(LEVELS, rel=1e-9)


def test_flow_level_has_the_noise_to_signal_ratio_of_its_edm_level():
    signal, noise = 1.0 - LEVELS, LEVELS  # x = (1 - s) x_0 + s e
    assert FLOW.edm(LEVELS) == pytest.approx(noise / signal)


@pytest.mark.parametrize("count", [2, 3, 48])
@pytest.mark.parametrize("ends", [(80.0, 0.002), (14.6, 0.03), (9999.0, 0.001), (4500.0, 0.03)])
def test_spread_descends_strictly_between_the_exact_ends(ends, count):
    levels = spread(*ends, count)
    assert len(levels) == count
    assert (np.diff(levels) < 0).all()
    assert (levels[0], levels[-1]) == ends


def test_spread_is_log_uniform_below_the_data_scale_and_sparse_far_above():
    gaps = -np.diff(np.log(spread(9999.0, 0.001, 100)))
    assert gaps[-30:] == pytest.approx(np.full(30, gaps[-1]), rel=0.02)
    assert gaps[0] > 10 * gaps[-1]
