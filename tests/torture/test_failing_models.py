"""Models that return NaN, break off or exhaust the memory: what is found all the same, and kept."""

from __future__ import annotations

import math
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import NotFiniteError, Result
from align_your_steps.tests.host.graphs import optimize_graph, sampled
from align_your_steps.tests.host.seen import saved_files, shown
from align_your_steps.tests.host.server import ComfyServer, Graph, PromptError
from align_your_steps.tests.optimizer.laboratory import optimize_flat
from align_your_steps.tests.optimizer.test_journal import InMemory, recorded
from align_your_steps.tests.torture.failing import BAD, BrokenModel, Fault
from torch import Tensor

DATA = Mixture.random(16, 4, seed=3)
GIVEN = {"mine": [20.0, 6.0, 1.5, 0.0], "even": [20.0, 13.0, 6.5, 0.0]}
SOLVERS = [("dpmpp_2m", 450), ("heun", 450), ("dpmpp_2m_sde", 800)]

# -- the optimiser alone --------------------------------------------------------------------


class Model:
    """A denoiser with a fault, which counts the rows that it was asked for."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.rows = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.rows += len(x)
        return self.fault(float(sigma[0]), lambda: DATA.denoise(x, sigma))


def run(model: Any, solver: str, budget: int, journal: InMemory | None = None) -> Result:
    """An optimisation in which nothing may be warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return optimize_flat(
            model, (16,), sigma_max=20.0, sigma_min=0.05, steps=3, solver=solver, budget=budget,
            candidates=GIVEN, journal=journal,
        )  # fmt: skip


def equal(one: Result, other: Result) -> bool:
    """Tell whether two optimisations found and measured the same, bit for bit."""
    what = [
        (
            result.sigmas.tolist(),
            [(score.candidate.name, score.errors) for score in result.scores],
            result.calls,
            result.reference_error,
            result.profile.grams.tolist(),
            # Levels for other numbers of steps follow from the profile, the scores and these.
            None if result.surrogate is None else result.surrogate.slope.tolist(),
            None if result.surrogate is None else result.surrogate.reference.denoised.tolist(),
        )
        for result in (one, other)
    ]
    return what[0] == what[1]


def sound(result: Result) -> bool:
    """Tell whether it is a schedule of numbers that was chosen by numbers."""
    levels = [result.sigmas]
    if result.surrogate is not None and result.noises % 2 == 0:  # on some: they take a while
        levels += result.at_step_counts([5])
    tensors = result.profile.to_tensors().values()
    return (
        all(bool(x.isfinite().all() and (x.diff() < 0).all()) for x in levels)
        and all(bool(x.isfinite().all()) for x in tensors)
        and all(math.isfinite(error) for score in result.scores for error in score.errors)
        and result.method not in result.failed
        and math.isfinite(result.klub(result.sigmas))
    )


def moments(calls: int, count: int, seed: int = 0) -> list[int]:
    """So many of the calls, in order, the first and the last among them."""
    inner = random.Random(seed).sample(range(1, calls - 1), min(calls, count) - 2)
    return sorted([0, *inner, calls - 1])


@pytest.mark.parametrize("solver, budget", SOLVERS)
def test_what_was_finished_before_a_model_breaks_is_kept(
    solver: str, budget: int, at_length: Callable[[int, int], int], fault: Callable[..., None]
) -> None:
    whole = Model(Fault("raise", times=0))
    expected = run(whole, solver, budget)
    survived = lost = 0
    trials = moments(whole.fault.calls, at_length(3, 20))
    for call in trials:
        journal, broken = InMemory(), Model(Fault("raise", call=call))
        with pytest.raises(BrokenModel, match=f"broke at call {call}"):
            run(broken, solver, budget, journal)
        kept = recorded(journal, list(journal.kept))
        again = Model(Fault("raise", times=0))
        survived += equal(run(again, solver, budget, journal), expected)
        lost += again.rows != whole.rows - kept
    fault(f"model raises, {solver}", trials=len(trials), survived=survived, lost=lost)


def test_one_call_that_is_no_number_costs_one_schedule_or_nothing(
    at_length: Callable[[int, int], int], fault: Callable[..., None]
) -> None:
    """Either the schedule whose run it was is out, or queueing again finds the whole result."""
    survived = lost = stopped = 0
    kinds = cycle(BAD)
    trials = []
    for solver, budget in SOLVERS:
        whole = Model(Fault("nan", times=0))
        expected = run(whole, solver, budget)
        for call in moments(whole.fault.calls, at_length(2, 14), seed=len(solver)):
            trials.append(call)
            bad = Fault(next(kinds), call=call, times=1, row=None if call % 2 else 0)
            journal = InMemory()
            try:
                survived += sound(run(Model(bad), solver, budget, journal))
            except NotFiniteError as error:
                assert "noise level" in str(error)
                stopped += 1
                kept = recorded(journal, list(journal.kept))
                again = Model(Fault("nan", times=0))
                survived += equal(run(again, solver, budget, journal), expected)
                lost += again.rows != whole.rows - kept
            assert bad.failed == 1
    fault(
        "model gives NaN or infinity once",
        trials=len(trials),
        survived=survived,
        lost=lost,
        remark=f"{stopped} stopped, and went on when queued again",
    )


def denoisers() -> Iterator[tuple[str, Callable[[Tensor, Tensor], Tensor], bool | None]]:
    """A name, a denoiser, and whether a schedule must be found; None: either is right."""
    for kind in BAD:
        for low, high, may in [
            (19.0, 30.0, False),  # as half precision overflows
            (0.0, 0.06, False),
            (0.0, 1e9, False),
            (5.99, 6.01, True),  # one given schedule
            (3.0, 3.3, None),
            (0.3, 0.31, None),
        ]:
            yield f"{kind} from {low:g} to {high:g}", Model(Fault(kind, low=low, high=high)), may
        yield f"{kind} on a row", Model(Fault(kind, row=0, low=5.99, high=6.01)), True
        yield f"{kind} on a row of four", Model(Fault(kind, row=3)), None
    for scale in (0.0, 1e-45, 1e-40, 1e-20, 1e-5, 1e4, 1e10, 1e18, 1e19, 1e25, 3e38):
        yield f"{scale:g} D", lambda x, sigma, c=scale: c * DATA.denoise(x, sigma), None
        yield f"{scale:g}", lambda x, sigma, c=scale: torch.full_like(x, c), None
        yield f"{scale:g} x", lambda x, sigma, c=scale: c * x, None
    for scale in (1.0, 1e2, 1e4, 1e6):
        yield f"half {scale:g} D", lambda x, s, c=scale: (c * DATA.denoise(x, s)).half(), None


def test_no_denoiser_brings_out_a_nan(
    at_length: Callable[[int, int], int], fault: Callable[..., None]
) -> None:
    """Overflow and underflow at levels, on rows, everywhere: a sound schedule, or one sentence."""
    survived = trials = stopped = 0
    for number, (solver, budget) in enumerate(SOLVERS):
        for _, denoise, may in list(denoisers())[number :: at_length(13, 2)]:
            trials += 1
            try:
                survived += sound(run(denoise, solver, budget)) and may is not False
            except NotFiniteError as error:
                stopped += 1
                survived += "--fp32-unet" in str(error) and may is not True
    fault("overflow, underflow", trials=trials, survived=survived, remark=f"{stopped} stopped")


# -- a real server --------------------------------------------------------------------------

STEPS, BUDGET = 2, 300
numbers = count()
AMPLE = 1000  # for several latents in one call
SETTINGS = {"sampler_name": "dpmpp_2m", "steps": STEPS, "denoise": 0.6, "seed": 61}


def graph(budget: int = BUDGET) -> Graph:
    """A measurement and an image from its schedule, under another name each time.

    The same request all the same, which the host has not answered yet.
    """
    settings = {**SETTINGS, "budget": budget, "name": f"failing {next(numbers)}"}
    image = {"steps": STEPS, "denoise": SETTINGS["denoise"]}
    return sampled(optimize_graph("edm", **settings), **image)


def unfinished(server: ComfyServer) -> list[Path]:
    return sorted((server.base / "user" / "ays_unfinished").glob("*/*"))


@pytest.fixture
def afresh(server: ComfyServer) -> Iterator[Callable[[], None]]:
    """Heal the model, and forget every result that was not there before and all unfinished work."""
    before = saved_files(server)

    def forget() -> None:
        server.get("/ays_test/reset")
        shutil.rmtree(server.base / "user" / "ays_unfinished", ignore_errors=True)
        for file in saved_files(server):
            if file not in before:
                file.unlink()

    forget()
    yield forget
    forget()


@pytest.fixture(scope="module")
def first() -> dict[str, Any]:
    """Return what is found without a fault, once it is known."""
    return {}


@pytest.fixture
def whole(
    server: ComfyServer, afresh: Callable[[], None], first: dict[str, Any]
) -> tuple[list[float], Tensor, int]:
    """Return what is found without a fault: levels, the image, and the calls that were made."""
    if not first:
        entry = server.run(graph())
        calls = server.get("/ays_test/calls")["calls"] - STEPS
        first["found"] = shown(entry), server.latent(entry, "save"), calls
        afresh()
    found: tuple[list[float], Tensor, int] = first["found"]
    return found


def test_a_model_that_breaks_in_a_server_is_continued(
    server: ComfyServer,
    afresh: Callable[[], None],
    whole: tuple[list[float], Tensor, int],
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
) -> None:
    levels, image, calls = whole
    before = server.get("/ays_test/objects")
    trials = moments(calls, at_length(2, 8))
    survived = lost = 0
    for call in trials:
        server.get(f"/ays_test/fail?kind=raise&call={call}&times=1")
        with pytest.raises(PromptError, match=f"The model broke at call {call}"):
            server.run(graph())
        lost += call == calls - 1 and len(unfinished(server)) < 4
        server.get("/ays_test/reset")
        entry = server.run(graph())
        again = server.get("/ays_test/calls")["calls"] - STEPS
        lost += call == calls - 1 and again > calls / 2
        survived += shown(entry) == levels and torch.equal(server.latent(entry, "save"), image)
        afresh()
    after = server.get("/ays_test/objects")
    assert after["wrapped"] == before["wrapped"] == 0
    assert after["models"] <= before["models"] + 1
    assert after["patchers"] <= before["patchers"] + 2
    fault("model raises, in a server", trials=len(trials), survived=survived, lost=lost)


def test_memory_that_runs_out_in_a_server_loses_nothing(
    server: ComfyServer,
    afresh: Callable[[], None],
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
) -> None:
    """Once, at any call, and always but for calls of one latent, or of two."""
    expected = shown(server.run(graph(AMPLE)))
    calls, rows = server.get("/ays_test/calls").values()
    assert rows / calls > 4, "several latents were measured in one call, with two prompts each"
    afresh()
    trials = [f"fits?rows={rows}" for rows in (2, 4)][: at_length(1, 2)]
    for call in moments((calls - STEPS) // 2, at_length(2, 6))[1:]:
        trials.append(f"fail?kind=memory&call={call}&times=1")
    survived = lost = 0
    for trial in trials:
        logged = len(server.log)
        server.get(f"/ays_test/{trial}")
        entry = server.run(graph(AMPLE))
        log = server.log[logged:]
        assert "calls go on with" in log
        lost += "starts again" in log
        survived += np.allclose(shown(entry), expected, rtol=1e-3)
        afresh()
    fault("memory runs out", trials=len(trials), survived=survived, lost=lost)


def test_a_server_in_which_a_model_gives_nan_says_at_which_level(
    server: ComfyServer,
    afresh: Callable[[], None],
    whole: tuple[list[float], Tensor, int],
    fault: Callable[..., None],
) -> None:
    levels, _, calls = whole
    logged = len(server.log)
    server.get("/ays_test/fail?kind=nan")
    with pytest.raises(PromptError, match=r"NaN or infinite values at noise level [\d.]+: .*fp32"):
        server.run(graph())
    server.get("/ays_test/reset")
    survived = int(shown(server.run(graph())) == levels)
    afresh()
    server.get(f"/ays_test/fail?kind=inf&call={calls - 1}")
    entry = server.run(graph())
    text = entry["outputs"]["report"]["text"][0]
    survived += "Out of the comparison: " in text and np.isfinite(shown(entry)).all()
    assert "RuntimeWarning" not in server.log[logged:]
    fault("model gives NaN in a server", trials=2, survived=int(survived))


def test_a_slow_model_is_cancelled_between_two_calls(
    server: ComfyServer, afresh: Callable[[], None], fault: Callable[..., None]
) -> None:
    server.get("/ays_test/delay?ms=500")
    prompt = server.queue(graph())
    server.until(lambda: server.get("/ays_test/calls")["calls"] >= 2)
    server.interrupt()
    at_once = server.get("/ays_test/calls")["calls"]
    messages = [kind for kind, _ in server.wait(prompt)["status"]["messages"]]
    after = server.get("/ays_test/calls")["calls"]
    survived = "execution_interrupted" in messages and after <= at_once + 1
    fault("slow model, cancelled", trials=1, survived=int(survived))
