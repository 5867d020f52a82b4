"""The experiment on trained networks: its parts against closed forms, and one small cell."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.digits.data import digits
from align_your_steps.benchmarks.digits.lora import bold, with_lora
from align_your_steps.benchmarks.digits.network import load_digits
from align_your_steps.benchmarks.edm import CLASSES, guided
from align_your_steps.benchmarks.evidence import closer, grid, sweeps, transfer
from align_your_steps.benchmarks.evidence.arena import FIXED, FLOOR, MEASURES, OURS, PEERS, Arena
from align_your_steps.benchmarks.evidence.features import classifier
from align_your_steps.benchmarks.evidence.intervals import (
    Interval,
    mean_interval,
    ratio_interval,
    verdict,
)
from align_your_steps.benchmarks.evidence.tables import against, against_best, groups, over_scales
from align_your_steps.benchmarks.patches.data import crops, photographs, to_pixels
from align_your_steps.benchmarks.patches.network import WEIGHTS, load_patches
from align_your_steps.benchmarks.record import read_lines
from align_your_steps.benchmarks.training import loss_at

CELL = "digits", 3.0, 1, "euler", 5


@pytest.fixture(scope="module")
def arena() -> Arena:
    torch.set_num_threads(1)
    small = Arena("digits", 3.0, 1, noises=16, truths=48)
    small.network = dataclasses.replace(small.network, oss_noises=1)
    return small


@pytest.fixture(scope="module")
def cell(arena: Arena) -> dict:
    return grid.measure(arena, "euler", 5)


# -- intervals ------------------------------------------------------------------------------


def test_interval_holds_the_mean_as_often_as_it_says():
    source = np.random.default_rng(0)
    found = [mean_interval(source.normal(3.0, 2.0, 5)) for _ in range(2000)]
    holding = np.mean([one.low < 3.0 < one.high for one in found])
    assert holding == pytest.approx(0.95, abs=0.015)


def test_interval_of_ratios_does_not_care_which_way_round_they_are():
    one, other = ratio_interval([0.5, 0.7, 0.9]), ratio_interval([1 / 0.5, 1 / 0.7, 1 / 0.9])
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / other.high)


@pytest.mark.parametrize("ends, word", [((-2, -1), "wins"), ((-1, 1), "ties"), ((1, 2), "loses")])
def test_a_difference_is_won_or_lost_only_where_its_interval_excludes_zero(ends, word):
    assert verdict(Interval(sum(ends) / 2, *ends)) == word


# -- tables ---------------------------------------------------------------------------------


def made_up(seed: int, ours: float, others: float) -> dict:
    """A cell in which every fixed schedule has `others`, but for karras, a tenth less."""
    methods = {name: dict.fromkeys(MEASURES, others) for name in (*FIXED, *PEERS, FLOOR)}
    methods["karras"] = dict.fromkeys(MEASURES, 0.9 * others)
    methods[OURS] = dict.fromkeys(MEASURES, ours)
    return dict(zip(grid.FIELDS, (*CELL[:2], seed, *CELL[3:]), strict=True), methods=methods)


def test_cells_of_several_seeds_are_one_group_against_its_best_fixed_schedule():
    cells = [made_up(seed, ours, 2.0) for seed, ours in enumerate((1.0, 1.1, 0.9))]
    (group,) = groups(cells)
    assert group.seeds == 3
    best = against_best(group, "frechet")
    assert best.other == "karras"
    assert best.ours == pytest.approx(1.0)
    assert best.difference.value == pytest.approx(-0.8)
    assert best.verdict == "wins"
    assert against(group, "frechet", "OSS").difference.value == pytest.approx(-1.0)


def test_over_all_scales_one_schedule_is_the_best_fixed_one():
    """beta is the best with guidance, karras without: in the mean karras."""
    plain = [made_up(seed, ours, 2.0) for seed, ours in enumerate((1.0, 1.1, 0.9))]
    guided_ones = [{**made_up(seed, 4.0, 6.0), "scale": 7.0} for seed in range(3)]
    for one in guided_ones:
        one["methods"]["beta"] = dict.fromkeys(MEASURES, 5.3)
    (group,) = over_scales(groups(plain + guided_ones))
    assert group.drawn == (0, 1, 2)
    best = against_best(group, "energy")
    assert best.other == "karras"
    assert best.theirs == pytest.approx((1.8 + 5.4) / 2)
    assert best.ours == pytest.approx((1.0 + 4.0) / 2)
    assert best.verdict == "wins"


def test_one_seed_has_no_interval_and_no_row():
    assert groups([made_up(0, 1.0, 2.0)]) == []


def test_what_is_as_good_on_average_is_a_tie():
    cells = [made_up(seed, ours, 2.0) for seed, ours in enumerate((1.5, 2.1, 1.8))]
    assert against_best(groups(cells)[0], "energy").verdict == "ties"


# -- one cell -------------------------------------------------------------------------------


def test_cell_compares_every_schedule_by_every_measure(cell):
    assert set(cell["methods"]) == {OURS, FLOOR, *PEERS, *FIXED}
    for method in cell["methods"].values():
        assert set(MEASURES) - set(method) == {"frechet to data"}  # it is guided
    assert cell["methods"][OURS]["calls"] <= 4000
    assert cell["methods"][OURS]["sigmas"][-1] == 0.0


def test_many_steps_are_nearer_to_the_truth_than_five(cell):
    few = [method for name, method in cell["methods"].items() if name != FLOOR]
    many = cell["methods"][FLOOR]
    for measure in ("energy", "mmd", "frechet", "feature energy"):
        assert many[measure] < min(method[measure] for method in few)


def test_references_are_far_more_exact_than_any_schedule(cell, arena):
    least = min(m["paired"] for name, m in cell["methods"].items() if name != FLOOR)
    assert arena.reference_error < 0.01 * least


def test_paired_error_of_a_stochastic_solver_is_its_twins(arena, cell):
    sigmas = torch.tensor(cell["methods"]["karras"]["sigmas"])
    twin = arena.measure("euler", {"x": sigmas})["x"]
    itself = arena.measure("ddim_stochastic", {"x": sigmas})["x"]
    assert itself["paired"] == twin["paired"]
    assert itself["energy"] != twin["energy"]


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, cell, monkeypatch, capsys):
    path = tmp_path / "grid.jsonl"
    grid.append(path, cell)
    with path.open("a") as file:
        file.write('{"network": "dig')  # cut off
    measured = []

    def counted(arena, solver, steps, others, peers):
        assert others is None and peers
        measured.append((solver, steps))
        return dict(cell, solver=solver, steps=steps)

    monkeypatch.setattr(grid, "measure", counted)
    grid.run([("digits", 3.0, 1)], path, ["euler", "dpmpp_2m"], [5])
    assert measured == [("dpmpp_2m", 5)]
    assert [grid.key_of(one)[3] for one in read_lines(path)] == ["euler", "dpmpp_2m"]


def test_ours_alone_is_measured_anew_beside_what_others_gave(arena, cell):
    then = {**cell, "methods": {**cell["methods"], OURS: {"paired": 9.0}}}
    now = grid.measure(arena, "euler", 5, then)
    assert now["methods"] == cell["methods"]
    assert now["methods"]["OSS"] is then["methods"]["OSS"]


def test_a_closer_look_has_other_noise_and_no_peers(tmp_path, monkeypatch):
    monkeypatch.setattr(closer, "STEPS", (5,))
    monkeypatch.setitem(closer.NOISES, "digits", 24)
    monkeypatch.setitem(closer.TRUTHS, "digits", 32)
    options = ["--networks", "digits", "--seeds", "10", "--part", "1/3", "--output", str(tmp_path)]
    closer.main(options)
    cell, lost = read_lines(tmp_path / "closer.jsonl")
    assert grid.key_of(cell) == ("digits", 1.0, 10, "dpmpp_2m", 5)
    assert grid.key_of(lost) == ("digits", 1.0, 10, "ddim_stochastic", 5)
    assert lost["how"]["criterion"] == "law"
    assert set(cell["methods"]) == {OURS, FLOOR, *FIXED}
    arena = Arena("digits", 1.0, 10, noises=24, truths=32)
    again = arena.measure("dpmpp_2m", {OURS: torch.tensor(cell["methods"][OURS]["sigmas"])})
    assert again[OURS]["energy"] == pytest.approx(cell["methods"][OURS]["energy"], rel=1e-3)
    assert again[FLOOR]["frechet"] == pytest.approx(cell["methods"][FLOOR]["frechet"], rel=1e-3)
    for seeds in closer.SEEDS.values():
        assert not set(seeds) & set(range(grid.SEEDS))
        assert {seed % CLASSES for seed in seeds} == set(range(CLASSES))


def test_others_measured_on_other_pictures_are_refused(arena, cell):
    floor = {**cell["methods"][FLOOR], "energy": 1.0}
    then = {**cell, "methods": {**cell["methods"], FLOOR: floor}}
    with pytest.raises(ValueError, match="Many steps gave energy 1 and give"):
        grid.measure(arena, "euler", 5, then)


def test_lines_are_kept_to_six_digits(tmp_path):
    grid.append(tmp_path / "x.jsonl", {"a": [1 / 3], "b": {"c": 2e-9 / 3}})
    kept = json.loads((tmp_path / "x.jsonl").read_text())
    assert kept == {"a": [0.333333], "b": {"c": 6.66667e-10}}


def test_a_schedule_in_its_own_setting_is_the_one_that_was_made_for_it(arena):
    other = Arena("digits", 1.0, 1, noises=16, truths=48)
    found = transfer.crossed({"guided": arena, "plain": other})
    ours = torch.tensor(found["sigmas"]["guided"])
    assert found["errors"]["guided"]["plain"] == other.error("dpmpp_2m", ours)
    assert found["errors"]["guided"]["guided"] < min(e["guided"] for e in found["fixed"].values())


def test_sweeps_lower_the_klub_and_the_stop_is_one_of_them(arena):
    found = sweeps.swept(arena, "time-uniform")
    assert found["klub"] == sorted(found["klub"], reverse=True)
    assert found["klub"][-1] < 0.5 * found["klub"][0]
    assert set(found["measured"]["dpmpp_2m"]) >= {str(k) for k in found["sweeps"]}
    assert all(0 <= k <= found["sweeps"][-1] for k in found["stopped"].values())


# -- networks -------------------------------------------------------------------------------


def test_weights_take_at_most_five_megabytes():
    assert WEIGHTS.stat().st_size <= 5_000_000


def test_photographs_are_scaled_and_their_right_fifths_held_out():
    pictures = photographs()
    assert len(pictures) == 10
    assert min(min(picture.shape[1:]) for picture in pictures) == 192
    assert abs(sum(float(p.mean()) for p in pictures) / 10) < 0.01
    images, labels = crops(20, 0)
    assert images.shape == (20, 3, 32, 32)
    assert torch.equal(labels.argmax(1), torch.arange(20) % 10)
    assert to_pixels(images).min() >= 0.0 and to_pixels(images).max() <= 1.0
    held_out, _ = crops(200, 1, held_out=True, photograph=3)
    border = int(0.8 * pictures[3].shape[2])
    allowed = pictures[3][:, :, border:].unfold(1, 32, 1).unfold(2, 32, 1)  # [3, h, w, 32, 32]
    rows = allowed.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1)
    both = torch.cat([rows, allowed.flip(4).permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1)])
    nearest = [(both - crop.flatten()).square().sum(1).min().item() for crop in held_out[:5]]
    assert max(nearest) < 1e-6


@pytest.mark.parametrize("t", [0.2, 0.5, 1.0])
def test_held_out_patches_are_denoised_better_than_by_wieners_filter(t):
    """P / (P + t²) at every frequency, with the mean power P of the training crops."""
    torch.set_num_threads(1)
    power = torch.fft.fft2(crops(300, 6)[0]).abs().square().mean(0) / 32**2

    def filtered(x, sigma, label):
        gain = power / (power + sigma[0] ** 2)
        return torch.fft.ifft2(torch.fft.fft2(x) * gain).real

    images, labels = crops(100, 5, held_out=True)
    losses = [loss_at(D, images, labels, t, noises=1) for D in (load_patches(), filtered)]
    assert losses[0] < 0.85 * losses[1] < 0.85 * t**2


def test_a_larger_picture_is_taken_in_windows():
    model = load_patches()
    h = torch.randn(2, 96, 8, 8)
    torch.testing.assert_close(model._mixed(h)[:, :, 4:, :4], model._mixed(h[:, :, 4:, :4]))
    x = torch.randn(1, 3, 64, 64)
    assert model(x, torch.ones(1), torch.zeros(1, 10)).shape == x.shape


@pytest.mark.parametrize("network, least", [("digits", 0.95), ("patches", 0.7)])
def test_classifiers_tell_held_out_pictures_apart(network, least):
    images, labels = digits(held_out=True) if network == "digits" else crops(300, 7, held_out=True)
    guessed = classifier(network)(images).argmax(1)
    assert (guessed == labels.argmax(1)).float().mean() > least


def test_guidance_is_the_hosts_and_at_one_the_conditional_denoiser():
    model = load_digits()
    x, sigma = torch.randn(3, 1, 8, 8), torch.full((3,), 1.5)
    label = torch.eye(10)[[4]].expand(3, 10)
    conditional, free = model(x, sigma, label), model(x, sigma, torch.zeros(3, 10))
    torch.testing.assert_close(guided(model, 4, 1.0)(x, sigma), conditional)
    torch.testing.assert_close(guided(model, 4, 3.0)(x, sigma), free + 3.0 * (conditional - free))


def test_lora_at_zero_is_the_denoiser_and_at_one_denoises_bold_digits_better():
    images, labels = digits(held_out=True)
    x, sigma = torch.randn(2, 1, 8, 8), torch.ones(2)
    assert torch.equal(with_lora(0.0)(x, sigma, labels[:2]), load_digits()(x, sigma, labels[:2]))
    losses = [loss_at(with_lora(s), bold(images), labels, 0.5, noises=1) for s in (0.0, 0.5, 1.0)]
    assert losses[2] < losses[1] < losses[0]
    plain = [loss_at(with_lora(s), images, labels, 0.5, noises=1) for s in (0.0, 1.0)]
    assert plain[0] < plain[1]
