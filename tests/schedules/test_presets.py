"""The published schedules, as printed and in the levels of a given model."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import align_your_steps.schedules
import pytest
from align_your_steps.schedules import PRESETS, discrete_table, preset, preset_for_model
from align_your_steps.schedules import presets as module

FILE = Path(align_your_steps.schedules.__file__).with_name("published.json")
PUBLISHED = json.loads(FILE.read_text(encoding="utf-8"))["schedules"]
KEYS = {"SD1.5": "sd15", "SDXL": "sdxl", "DeepFloyd IF": "deepfloyd_if_stage1", "SVD": "svd"}
LATENT = ("SD1.5", "SDXL")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_the_paper_prints(name: str) -> None:
    one = preset(name)
    assert list(one.levels) == PUBLISHED[KEYS[name]]["paper"]
    assert one.steps == 10
    assert one.name == name
    assert "NVIDIA" in one.provenance.who and "2404.14507" in one.provenance.what


@pytest.mark.parametrize("name", LATENT)
def test_levels_read_off_stable_diffusions_table_are_those_the_host_ships(name: str) -> None:
    table = discrete_table()
    one = preset_for_model(name, sigma_max=table.sigma_max, sigmas=table.sigmas.tolist())
    assert one.levels == pytest.approx(PUBLISHED[KEYS[name]]["sigmas_at_timesteps"], rel=1e-5)


@pytest.mark.parametrize("name", LATENT)
@pytest.mark.parametrize("sigmas", [None, [0.03, 1.0, 14.6]])
def test_without_a_table_of_1000_the_levels_are_stable_diffusions(
    name: str, sigmas: list[float] | None
) -> None:
    one = preset_for_model(name, sigma_max=14.6147, sigmas=sigmas)
    assert list(one.levels) == PUBLISHED[KEYS[name]]["sigmas_at_timesteps"]


@pytest.mark.parametrize("name", LATENT)
def test_a_zero_terminal_snr_model_starts_at_its_own_sigma_max(name: str) -> None:
    table = discrete_table(zero_terminal_snr=True)
    one = preset_for_model(name, sigma_max=table.sigma_max, sigmas=table.sigmas.tolist())
    assert one.levels[0] == table.sigma_max > 4000
    assert one.levels[1:] == tuple(table.sigmas[PUBLISHED[KEYS[name]]["timesteps"][1:]])


@pytest.mark.parametrize("name", ["DeepFloyd IF", "SVD"])
def test_the_other_presets_ignore_a_table(name: str) -> None:
    table = discrete_table()
    one = preset_for_model(name, sigma_max=1000.0, sigmas=table.sigmas.tolist())
    assert one.levels == preset(name).levels


@pytest.mark.parametrize(
    ("name", "sigma_max", "steps"),
    [
        ("DeepFloyd IF", 14.6, 10),  # only 160.41 is above
        ("SVD", 14.6, 8),  # 700, 54.5 and 15.886 become one
        ("SVD", 15.886, 8),  # a level at sigma_max is not kept twice
        ("SD1.5", 3.0, 8),
        ("SDXL", 0.03, 1),
    ],
)
def test_levels_above_sigma_max_become_one_at_sigma_max(
    name: str, sigma_max: float, steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="align_your_steps"):
        one = preset_for_model(name, sigma_max=sigma_max)
    whole = preset_for_model(name, sigma_max=1e4)
    assert one.steps == steps
    assert one.levels[0] == sigma_max
    assert one.levels[1:] == whole.levels[-steps:]
    assert "clipped" in caplog.text


def test_rounding_of_sigma_max_is_no_clip(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="align_your_steps"):
        one = preset_for_model("SD1.5", sigma_max=14.61464)
    assert one.levels[0] == 14.61464
    assert not caplog.records


def test_a_preset_that_starts_below_sigma_max_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert preset_for_model("SD1.5", sigma_max=120.0).levels[0] < 15
    assert "below this model's sigma_max 120" in caplog.text


@pytest.mark.parametrize("name", PRESETS)
def test_a_flow_model_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"flow model.*choose 'auto' or optimise"):
        preset_for_model(name, sigma_max=1.0, flow=True)


@pytest.mark.parametrize("sigma_max", [0.001, 0.0, float("nan"), float("inf")])
def test_a_sigma_max_that_leaves_no_step_is_refused(sigma_max: float) -> None:
    with pytest.raises(ValueError, match="sigma_max"):
        preset_for_model("SD1.5", sigma_max=sigma_max)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"SD9.*SD1.5, SDXL, DeepFloyd IF, SVD"):
        preset("SD9")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schedules": {}}', '{"schedules": null}'])
def test_damaged_tables_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "published.json").write_text(text, encoding="utf-8")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "presets.py"))
    module._published_tables.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"published\.json cannot be read.*install"):
            preset("SDXL")
    finally:
        module._published_tables.cache_clear()
