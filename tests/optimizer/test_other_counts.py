"""Samplers for other numbers of steps, and weights for runs that begin inside the path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from align_your_steps.optimizer.diffusion.multistep import TEXTBOOK, Multistep, textbook
from align_your_steps.optimizer.fit.multistep_fit import run
from align_your_steps.optimizer.fit.other_counts import (
    COUNTS,
    START,
    WEIGHT_DIGITS,
    Secants,
    fitted_count,
)
from align_your_steps.schedules.curves import karras
from align_your_steps.tests.optimizer.test_calibrate import (
    HIGH,
    LOW,
    TABLE,
    at,
    calibrated,
    elements,
    fitted,
    nearest,
    noise,
    path_of,
)


def test_samplers_for_other_counts_beat_the_textbook_without_a_call() -> None:
    found, lab = calibrated()
    assert found.name in found.fitted
    assert found.counts.keys() == {5, *COUNTS}
    assert found.counts[5].sampler == found.sampler
    rows = lab.rows
    fresh = noise(300, seed=9)
    path = path_of(fresh)
    gained = []
    for count, one in found.counts.items():
        levels = karras(count, LOW, HIGH).tolist()
        textbooks = [run(at, textbook(name, levels), fresh, elements).end for name in TEXTBOOK]
        best = min(map(path.log_error, textbooks))
        gained.append(best - path.log_error(run(at, one.sampler, fresh, elements).end))
    assert np.mean(gained[1:]) > 0.1, "less log error than the best of them in hindsight"
    assert lab.rows == rows <= 800


def test_weights_of_runs_that_begin_inside_beat_the_whole_run_s() -> None:
    found, _ = calibrated()
    fresh = noise(300, seed=9)
    path = path_of(fresh)
    own = found.counts[5]
    gained = []
    for i, rows in enumerate(own.restarts, 1):
        levels, told = own.sampler.levels[i:], own.sampler.told[i:]
        folded = [
            (*row[:k], sum(row[k:])) if len(row) > k else row
            for k, row in enumerate(own.sampler.weights[i:])
        ]
        unit = path.at(levels[:1])[0][0] / levels[0]
        ends = [
            run(at, Multistep(levels, told, tuple(some)), unit, elements).end
            for some in (rows, folded)
        ]
        gained.append(path.log_error(ends[1]) - path.log_error(ends[0]))
    assert min(gained[1:]) > 0.0 and gained[0] > -0.5


def test_where_the_pair_is_returned_nothing_else_is_fitted() -> None:
    from align_your_steps.benchmarks.calibrated import LocalLab
    from align_your_steps.optimizer.calibrate import calibrate
    from align_your_steps.tests.optimizer.test_calibrate import curves

    lab = LocalLab(lambda x, sigma: torch.ones_like(x), (4,), 0, 800)
    assert not calibrate(lab, curves(5), budget=800, lowest=LOW).counts


def test_with_a_mask_all_last_rows_add_up_to_1() -> None:
    found, _ = calibrated(told=False, whole=True)
    for one in found.counts.values():
        assert one.sampler.told == pytest.approx(one.sampler.levels[:-1])
        last = [one.sampler.weights[-1], *(rows[-1] for rows in one.restarts)]
        assert [sum(row) for row in last] == pytest.approx([1.0] * len(last), rel=1e-9)


def test_levels_are_told_that_the_model_knows_and_numbers_are_short() -> None:
    found, _ = calibrated(1200, model_level=nearest)
    for count, one in found.counts.items():
        assert set(one.sampler.told) <= set(TABLE.tolist())
        assert [len(rows) for rows in one.restarts] == [*range(count - 1, 0, -1)]
        numbers = [b for rows in one.restarts for row in rows for b in row]
        assert numbers == [round(b, WEIGHT_DIGITS) for b in numbers]


def test_secants_know_what_the_runs_have_met() -> None:
    sampler, unit, path = fitted(6)
    made = run(at, sampler, unit, elements)
    probed, slopes = [HIGH, LOW], torch.full((2, 6), 0.3, dtype=torch.float64)
    given = path, unit, [(sampler, made.outputs)], probed, slopes
    x, i = sampler.levels[0] * unit, 0
    for i in range(3):
        x = sampler.step(i, x, made.outputs[i::-1])
    level = sampler.levels[3]
    met = at(x, level)
    linear = Secants(*given).linear(x, level)
    assert float((Secants(*given)(x, level) - met).norm()) < 0.3 * float((linear - met).norm())


def test_a_count_begins_at_the_levels_from_which_it_comes_nearest() -> None:
    sampler, unit, path = fitted(6)
    outputs = run(at, sampler, unit, elements).outputs
    slopes = torch.full((2, 2), 0.3, dtype=torch.float64)
    secants = Secants(path, unit, [(sampler, outputs)], [HIGH, LOW], slopes)

    def missed(one: Multistep) -> float:
        return path.log_error(run(secants, one, unit, elements).end)

    for count in COUNTS:
        curves = (karras(count, LOW, HIGH), np.append(np.geomspace(HIGH, LOW, count), 0.0))
        starts = [textbook(START, levels.tolist()) for levels in curves]
        each = [fitted_count(secants, [start], False).sampler for start in starts]
        assert fitted_count(secants, starts, False).sampler == min(each, key=missed)
