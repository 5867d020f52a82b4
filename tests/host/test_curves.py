"""Our curves, presets and denoise modes give the levels that the host's own give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from align_your_steps.schedules import (
    CURVES,
    at_steps,
    discrete_table,
    edm_table,
    flow_table,
    preset_for_model,
    with_denoise,
)
from align_your_steps.tests.host.host_schedules import DENOISE, STEPS

SCRIPT = Path(__file__).with_name("host_schedules.py")
RELATIVE = 1e-5  # the host computes in float32

TABLES = {
    "discrete": discrete_table(),
    "zero-terminal-SNR": discrete_table(zero_terminal_snr=True),
    "EDM": edm_table(),
    "EDM from 1e-6": edm_table(sigma_min=1e-6),
    "SVD": edm_table(sigma_max=700.0),
    "flow": flow_table(),
    "shifted flow": flow_table(shift=3.0),
}


@pytest.fixture
def host(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The host's levels, as host_schedules.py describes them."""
    return host_answer(SCRIPT)


def assert_levels(actual: npt.ArrayLike, expected: npt.ArrayLike, angle: float = 0.0) -> None:
    """The n + 1 levels are the host's but for rounding; `angle` is that of sigma's arctan."""
    ours, hosts = np.asarray(actual), np.asarray(expected)
    assert ours.shape == hosts.shape
    assert np.isclose(ours, hosts, rtol=RELATIVE + angle * hosts, atol=0.0).all(), (ours, hosts)


@pytest.mark.parametrize("model", TABLES)
def test_table_is_the_hosts(host: dict[str, Any], model: str) -> None:
    assert_levels(TABLES[model].sigmas, host["tables"][model])


@pytest.mark.parametrize("model", TABLES)
@pytest.mark.parametrize("curve", CURVES)
def test_curve_is_the_hosts(host: dict[str, Any], curve: str, model: str) -> None:
    # kl_optimal is a tangent. Half a unit in the last place of an angle near pi/2 is 2^-24 in
    # float32; it moves a level by sigma^2 as much, which is 3e-4 of the level at sigma = 4519.
    angle = 2.0**-24 if curve == "kl_optimal" else 0.0
    for steps, levels in zip(STEPS, host["curves"][model][curve], strict=True):
        if (curve, steps) == ("kl_optimal", 1):
            continue  # NaN in the host
        *upper, last = levels
        assert last < 1e-5  # some end in sigma_min where that is as good as 0; ours end in 0
        assert_levels(CURVES[curve](steps, TABLES[model]), [*upper, 0.0], angle)


def published(name: str, table: list[float], steps: int) -> tuple[float, ...]:
    """The levels of a preset for a model with the given table."""
    schedule = preset_for_model(name, sigma_max=table[-1], sigmas=table)
    return at_steps(schedule, steps, sigma_min=table[0])


@pytest.mark.parametrize(
    "name, hosts_name, model",
    [("SD1.5", "SD1", "discrete"), ("SDXL", "SDXL", "discrete"), ("SVD", "SVD", "SVD")],
)
def test_preset_is_the_hosts_node_for_the_published_tables(
    host: dict[str, Any], name: str, hosts_name: str, model: str
) -> None:
    for steps, levels in zip(STEPS, host["published"][hosts_name], strict=True):
        assert_levels(published(name, host["tables"][model], steps), levels)


def test_truncate_is_the_denoise_of_the_hosts_node_for_the_published_tables(
    host: dict[str, Any],
) -> None:
    def curve(steps: int) -> tuple[float, ...]:
        return published("SD1.5", host["tables"]["discrete"], steps)

    for (steps, denoise), levels in zip(DENOISE, host["truncated"], strict=True):
        assert_levels(with_denoise(curve, steps, denoise, "truncate"), levels)


def test_keep_steps_is_the_denoise_of_the_hosts_basic_scheduler(host: dict[str, Any]) -> None:
    def curve(steps: int) -> npt.NDArray[np.float64]:
        return CURVES["karras"](steps, TABLES["discrete"])

    for (steps, denoise), levels in zip(DENOISE, host["expanded"], strict=True):
        assert_levels(with_denoise(curve, steps, denoise, "keep steps"), levels)
