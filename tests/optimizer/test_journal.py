"""An optimisation that is broken off and begun again finds what it would have found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import CONTINUED, Meter, Result, builtin_solver
from align_your_steps.tests.optimizer.laboratory import optimize_flat
from torch import Tensor

BUDGET = 900
STEPS = 4
DATA = Mixture.random(16, 4, seed=3)


class InMemory:
    """A journal that counts what it is asked."""

    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, Tensor]] = {}
        self.puts: list[str] = []

    def get(self, name: str) -> Mapping[str, Tensor] | None:
        return self.kept.get(name)

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        self.puts.append(name)
        self.kept[name] = {key: tensor.clone() for key, tensor in tensors.items()}


class Interrupted(Exception):
    """The user pressed Cancel."""


class Model:
    """A denoiser that counts rows and fails at a given call."""

    def __init__(self, fails_at: float = float("inf")) -> None:
        self.fails_at = fails_at
        self.calls = self.rows = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self.calls >= self.fails_at:
            raise Interrupted
        self.calls += 1
        self.rows += len(x)
        return DATA.denoise(x, sigma)


def run(model: Model, journal: InMemory | None = None, **settings: Any) -> Result:
    given: dict[str, Any] = {
        "solver": "dpmpp_2m",
        "budget": BUDGET,
        "steps": STEPS,
        "candidates": {"mine": torch.tensor([20.0, 6.0, 1.5, 0.3, 0.0])},
        **settings,
    }
    return optimize_flat(model, (16,), sigma_max=20.0, sigma_min=0.05, journal=journal, **given)


def same(one: Result, other: Result) -> None:
    assert torch.equal(one.sigmas, other.sigmas)
    assert one.method == other.method
    assert one.calls == other.calls
    assert one.noises == other.noises
    assert one.reference_error == other.reference_error
    scores = [[(s.candidate.name, s.errors) for s in result.scores] for result in (one, other)]
    assert scores[0] == scores[1]
    for key, tensor in one.profile.to_tensors(torch.float64).items():
        assert torch.equal(tensor, other.profile.to_tensors(torch.float64)[key])
    if one.surrogate is not None:
        assert torch.equal(one.at_steps(6), other.at_steps(6))


EACH = [
    {"solver": "dpmpp_2m"},
    {"solver": "heun"},
    {"solver": "dpmpp_2m_sde", "budget": 1000},
    {"solver": "dpmpp_2m", "method": "paper"},
]


@pytest.mark.parametrize("settings", EACH, ids=lambda s: "-".join(map(str, s.values())))
def test_an_optimisation_broken_off_twice_finds_what_an_unbroken_one_does(
    settings: dict[str, Any],
) -> None:
    whole = Model()
    expected = run(whole, **settings)
    assert (expected.criterion == "law") == (settings["solver"] == "dpmpp_2m_sde")
    journal, rows = InMemory(), 0
    for fails_at in (whole.calls // 3, whole.calls // 3, float("inf")):
        told: list[tuple[str, int]] = []
        model, before = Model(fails_at), list(journal.puts)
        try:
            result = run(
                model, journal, progress=lambda *what, told=told: told.append(what), **settings
            )
            same(result, expected)
        except Interrupted:
            assert model.calls == fails_at, "it was broken off where it should be"
        assert not set(before) & set(journal.puts[len(before) :]), "a stage was recorded twice"
        known = max((spent for phase, spent in told if phase == CONTINUED), default=0)
        assert known == recorded(journal, before)
        rows += model.rows
    assert model.rows == whole.rows - known
    # Nothing is computed twice but the stages that were broken off.
    assert rows - whole.rows <= 2 * max(recorded(journal, [name]) for name in journal.kept)


def recorded(journal: InMemory, names: list[str]) -> int:
    """Rows that some stages have taken."""
    stages = [journal.kept[name] for name in names]
    return sum(int(x) for kept in stages for key, x in kept.items() if "rows, " in key)


def test_every_stage_is_recorded_once_and_in_order() -> None:
    journal = InMemory()
    run(Model(), journal)
    assert journal.puts == sorted(set(journal.puts))
    assert len(journal.puts) > 5
    again = InMemory()
    again.kept = journal.kept
    run(Model(), again)
    assert again.puts == []


def lost(journal: InMemory) -> None:
    del journal.kept["00003"]


def lost_on_either_side(journal: InMemory) -> None:
    """Two stages on one batch of noise, with one on the other batch between them."""
    del journal.kept["00004"], journal.kept["00006"]


def of_another_run(journal: InMemory) -> None:
    journal.kept["00003"] = journal.kept["00004"]


def empty(journal: InMemory) -> None:
    journal.kept = {key: {} for key in journal.kept}


@pytest.mark.parametrize("damage", [lost, lost_on_either_side, of_another_run, empty])
def test_a_stage_that_is_lost_or_does_not_fit_is_run_again(
    damage: Callable[[InMemory], None],
) -> None:
    expected = run(Model())
    journal, model = InMemory(), Model()
    run(Model(), journal)
    damage(journal)
    same(run(model, journal), expected)
    assert model.rows > 0


def test_a_journal_that_does_not_fit_does_no_harm() -> None:
    journal = InMemory()
    run(Model(), journal)
    model = Model()
    result = run(model, journal, steps=5, candidates={})
    assert len(result.sigmas) == 6
    assert model.rows <= result.total_calls <= BUDGET


def test_a_solver_behind_a_meter_of_the_callers_continues_too() -> None:
    def settings(model: Model) -> dict[str, Any]:
        meter = Meter()

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return meter(x, float(sigma[0]), lambda: model(x, sigma))

        return {"solver": builtin_solver("dpmpp_2m", denoise), "denoise": denoise, "meter": meter}

    def measured(model: Model, journal: InMemory | None = None) -> Result:
        own = settings(model)
        return optimize_flat(
            own.pop("denoise"), (16,), sigma_max=20.0, sigma_min=0.05, steps=STEPS, budget=BUDGET,
            journal=journal, **own,
        )  # fmt: skip

    whole = Model()
    expected = measured(whole)
    journal = InMemory()
    with pytest.raises(Interrupted):
        measured(Model(whole.calls // 2), journal)
    second = Model()
    same(measured(second, journal), expected)
    assert second.rows < 0.7 * whole.rows


def test_what_was_recorded_in_another_order_is_measured_anew() -> None:
    """As by an older version: a run of one batch of noise never passes for that of another."""
    journal = InMemory()
    expected = run(Model(), journal, budget=4000)
    stages = sorted(journal.kept)
    for name, before in zip(stages[1:], stages, strict=False):
        moved = InMemory()
        moved.kept = {name: journal.kept[before]}
        model = Model()
        same(run(model, moved, budget=4000), expected)
        assert model.rows == expected.total_calls
