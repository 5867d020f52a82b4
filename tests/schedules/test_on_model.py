"""Schedules from elsewhere: timesteps, levels outside a model's range, lists for a second pass."""

from __future__ import annotations

import numpy as np
import pytest
from align_your_steps.schedules import Provenance, Schedule, on_model, preset
from align_your_steps.schedules.curves import discrete_table
from align_your_steps.schedules.on_model import are_timesteps

TABLE = discrete_table().sigmas  # of Stable Diffusion, 14.6 … 0.029
EPS = {"sigma_min": float(TABLE[0]), "sigma_max": float(TABLE[-1])}
ZERO_SNR = {"sigma_min": 0.0292, "sigma_max": 4518.7}
EDM = {"sigma_min": 0.002, "sigma_max": 80.0}
FLOW = {"sigma_min": 0.001, "sigma_max": 1.0}


def schedule(*levels: float, others: tuple[tuple[float, ...], ...] = ()) -> Schedule:
    return Schedule(levels, "mine", Provenance("imported", "unknown", "unknown"), others)


@pytest.mark.parametrize(
    "timesteps",
    [
        (999, 850, 736, 645, 545, 455, 343, 233, 124, 24, 0),
        (999, 845, 730, 587, 443, 310, 193, 116, 53, 13, 0),
        (999, 749, 499, 249, 0),
        (980.5, 700.25, 300.75, 60.5, 0),
        (401, 301, 201, 101, 1, 0),
        (199, 99, 19),
        (1000, 500, 0),
    ],
)
def test_timesteps_become_the_levels_at_them(timesteps: tuple[float, ...]) -> None:
    found = on_model(schedule(*timesteps), timesteps=TABLE.tolist(), whole_path=False, **EPS)
    positive = [t for t in timesteps if t > 0]
    expected = np.exp(np.interp(positive, np.arange(1000), np.log(TABLE)))
    levels = found.schedule.levels
    np.testing.assert_allclose(levels[: len(positive)], expected, rtol=1e-9)
    assert levels[len(positive) :] == timesteps[len(positive) :]  # a 0 is the end
    assert "are timesteps, taken as this model's noise levels" in found.notes[0]
    assert found.second_pass == (expected[0] < 0.95 * EPS["sigma_max"])


@pytest.mark.parametrize(
    "levels, sigma_max",
    [
        ((14.6, 6.4, 3.8, 0.3, 0), 14.6),
        ((14, 8, 4, 2, 1, 0), 14.6),
        ((12, 6, 3, 1, 0), 14.6),
        ((4518.7, 120, 30, 14.6, 0.1, 0), 14.6),
        ((700, 54.5, 15.9, 0.03, 0), 700.0),
        ((120, 30, 14, 6, 3, 1, 0), 4518.7),
        ((1.0, 0.8, 0.4, 0.0), 1.0),
    ],
)
def test_noise_levels_are_no_timesteps(levels: tuple[float, ...], sigma_max: float) -> None:
    assert not are_timesteps(levels, sigma_max)


def test_timesteps_for_other_steps_are_converted_too() -> None:
    given = schedule(999, 500, 10, 0, others=((999, 10, 0),))
    found = on_model(given, timesteps=TABLE.tolist(), whole_path=False, **EPS)
    assert found.schedule.others[0][1] == pytest.approx(TABLE[10])


def test_timesteps_on_a_model_to_zero_snr_are_recognised_below_its_highest_level() -> None:
    table = np.append(TABLE[:-1], 4518.7)
    given = schedule(999, 850, 455, 24, 0)
    found = on_model(given, timesteps=table.tolist(), whole_path=False, **ZERO_SNR)
    assert found.schedule.levels == pytest.approx((4518.7, TABLE[850], TABLE[455], TABLE[24], 0))


@pytest.mark.parametrize(
    "levels, model, expected, note",
    [
        (
            (4518.7, 120, 30, 14.6, 6, 3, 1.4, 0.7, 0.3, 0.1, 0),
            EPS,
            (EPS["sigma_max"], 6, 3, 1.4, 0.7, 0.3, 0.1, 0),
            "4 levels at or above this model's highest, 14.61, have become one",
        ),
        (
            (700, 54.5, 9.0, 1.0, 0.1, 0),
            EPS,
            (EPS["sigma_max"], 9.0, 1.0, 0.1, 0),
            "2 levels at or above",
        ),
        (
            (80, 9, 1, 0.1, 0.01, 0.002, 0),
            EPS,
            (EPS["sigma_max"], 9, 1, 0.1, 0),
            "its first level, 80, is this model's highest, 14.61; "
            "2 levels below this model's lowest, 0.02917, left out",
        ),
        ((120, 80, 9, 1, 0), EDM, (80, 9, 1, 0), "2 levels at or above this model's highest, 80"),
        ((14.6, 1, 0.01, 0), EPS, (EPS["sigma_max"], 1, 0), "1 level below this model's lowest"),
        ((1.2, 0.8, 0.3, 0), FLOW, (1.0, 0.8, 0.3, 0), "its first level, 1.2"),
        ((20, 5, 0.5, 0.02), EPS, (EPS["sigma_max"], 5, 0.5, EPS["sigma_min"]), "its first level"),
    ],
)
def test_levels_outside_the_range_are_clipped_and_told_of(
    levels: tuple[float, ...], model: dict[str, float], expected: tuple[float, ...], note: str
) -> None:
    found = on_model(schedule(*levels), whole_path=False, **model)
    assert found.schedule.levels == pytest.approx(expected)
    assert "; ".join(found.notes).startswith(note)
    assert not found.second_pass


@pytest.mark.parametrize(
    "levels, model",
    [
        ((5000.0, 2000.0, 1500.5, 0.0), EPS),
        ((900.0, 300.0, 200.0, 100.0), EDM),  # a model without timesteps
        ((0.02, 0.01, 0.0), EPS),
        ((0.0005, 0.0001, 0.0), FLOW),
        ((3.0, 2.0, 1.5), FLOW),
        ((80.0, 0.001, 0.0), EPS),
    ],
)
def test_a_list_without_a_level_in_the_range_is_refused(
    levels: tuple[float, ...], model: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=r"No noise level of the schedule 'mine', .* is within"):
        on_model(schedule(*levels), whole_path=False, **model)


@pytest.mark.parametrize(
    "levels, model",
    [
        ((5.0, 3.0, 1.0, 0.0), EPS),
        ((12.0, 6.0, 3.0, 1.0, 0.0), EPS),
        ((0.6, 0.4, 0.2, 0.0), EPS),
        ((0.6, 0.4, 0.2, 0.0), FLOW),
        ((0.909, 0.725, 0.422, 0.0), FLOW),
        ((30.0, 3.0, 0.3, 0.0), EDM),
        ((14.6, 3.0, 0.3, 0.0), ZERO_SNR),
    ],
)
def test_a_list_that_begins_inside_the_path_stays_as_it_is(
    levels: tuple[float, ...], model: dict[str, float]
) -> None:
    found = on_model(schedule(*levels), whole_path=False, **model)
    assert found.schedule.levels == levels
    assert found.second_pass
    assert f"it begins at {levels[0]:.4g}, inside this model's path" in found.notes[-1]


def test_what_was_measured_for_the_whole_path_starts_at_the_top_of_this_one() -> None:
    found = on_model(schedule(14.6, 3.0, 0.3, 0.0), whole_path=True, **EDM)
    assert found.schedule.levels == (80.0, 3.0, 0.3, 0.0)
    assert found.notes == ("it begins at this model's 80 in place of 14.6",)
    assert not found.second_pass


def test_what_was_measured_for_a_part_begins_where_it_begins() -> None:
    found = on_model(schedule(3.0, 0.3, 0.0), whole_path=True, denoise=0.5, **EPS)
    assert (found.schedule.levels, found.notes, found.second_pass) == ((3.0, 0.3, 0.0), (), False)


def test_published_levels_fit_their_own_model_without_a_word() -> None:
    found = on_model(preset("SD1.5"), timesteps=TABLE.tolist(), whole_path=False, **EPS)
    assert found.schedule.levels[1:] == preset("SD1.5").levels[1:]
    assert found.notes == ()
