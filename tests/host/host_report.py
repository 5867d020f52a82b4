"""A script for the host's process: the report and the summary of results of every kind.

It prints JSON, for every case of CASES its `summary` and its `report`.
"""

from __future__ import annotations

import importlib
import json
import math
from types import SimpleNamespace
from typing import Any

import torch
from align_your_steps.optimizer import Gain, Result
from align_your_steps.optimizer.diffusion.coordinate import VE
from align_your_steps.optimizer.diffusion.multistep import textbook
from align_your_steps.optimizer.fit.other_counts import FittedCount
from align_your_steps.optimizer.judging.select import Candidate, Score
from align_your_steps.optimizer.steps_needed import StepsNeeded
from align_your_steps.tests.profiles.made import LEVELS, profile_of

PAIRS = {
    "joint 1": 0.1,
    "greedy": 0.2,
    "unipc_3 AYS DeepFloyd IF": 0.3,
    "exponential_3 karras": 0.4,
}
SIMPLE = textbook("euler", [*LEVELS, 0.0])
PLAIN = {"path p=0.75 order 2, through sigma_min": 0.1, "karras": 0.3, "beta": 0.4}
CASES: dict[str, dict[str, Any]] = {
    "fitted": {"ratios": [0.3, 0.35, 0.4, 0.38], "cfg": 3.0},
    "fitted, many seeds": {"ratios": [0.3, 0.35, 0.4, 0.38] * 3, "counts": (7, 4, 16, 5)},
    "fitted, steps known": {
        "ratios": [0.3, 0.35, 0.4, 0.38] * 3,
        "needed": StepsNeeded(14, True, 8),
    },
    "fitted, out of reach": {
        "ratios": [0.3, 0.35, 0.4, 0.38] * 3,
        "needed": StepsNeeded(21, False, 4),
    },
    "fitted, open": {"ratios": [0.5, 1.4, 0.7], "cfg": 7.5},
    "fitted, none better": {"ratios": [1.2, 1.5], "cfg": 3.0, "denoise": 0.6},
    "fitted, one seed": {"ratios": [0.5], "cfg": 3.0},
    "fitted, a pair of models": {"ratios": [0.3, 0.35, 0.4], "cfg": 3.0, "boundary": 2.0},
    "plain": {"of": PLAIN, "ratios": [0.3, 0.35, 0.4, 0.38], "cfg": 3.0},
    "plain, open": {"of": PLAIN, "ratios": [0.5, 1.4, 0.7], "cfg": 3.0, "ended_early": True},
    "plain, none better": {"of": PLAIN, "ratios": [1.2, 1.5, 1.3], "cfg": 3.0},
    "plain, nothing to compare with": {"of": {"refined": 0.1}, "ratios": [], "cfg": 3.0},
    "plain, hardly better": {"of": PLAIN, "ratios": [0.9989, 0.999, 0.9991], "cfg": 3.0},
    "plain, a pair of models": {"of": PLAIN, "ratios": [0.3, 0.35, 0.4], "boundary": 2.0},
}


def result(
    of: dict[str, float] | None,
    ratios: list[float],
    *,
    ended_early: bool = False,
    needed: StepsNeeded | None = None,
    counts: tuple[int, ...] = (),
) -> Result:
    """A result in which the first of the named errors is ours, by such ratios of it to theirs."""
    plain, named = of is not None, PAIRS if of is None else of
    sigmas = torch.tensor([*LEVELS, 0.0])
    given = {name: not name.startswith(("joint", "greedy", "path", "refined")) for name in named}
    factors = ratios or [1.0]
    scores = [
        Score(Candidate(name, sigmas.clone(), given[name]), [error * f for f in factors])
        for name, error in named.items()
    ]
    gain = Gain.of([ratios], [[1.0] * len(ratios)]) if ratios else None
    best = next(s for s in scores if s.candidate.given == (gain is not None and gain.ratio >= 1.0))
    return Result(
        sigmas=best.candidate.sigmas,
        method=best.candidate.name,
        scores=scores,
        left_out={},
        failed={"unipc_2 beta": "its run broke"},
        profile=profile_of(0, 5) if plain else None,
        calls={"reference": 1400, "fit": 20, "candidates": 600},
        noises=len(best.errors),
        criterion="paired error",
        gain=gain,
        reference_steps=24,
        reference_error=0.001 if plain else math.nan,
        coordinate=VE,
        surrogate=None,
        ended_early=ended_early,
        resumable=True,
        sampler=None if plain else textbook("euler", sigmas.tolist()),
        plain=None if plain else scores[2].candidate,
        needed=needed,
        counts={steps: FittedCount(SIMPLE, ()) for steps in counts},
    )


def main() -> None:
    """Write every report and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    from align_your_steps.nodes.results.report import report_text
    from align_your_steps.nodes.results.summary import summary

    answer = {}
    for case, settings in CASES.items():
        told = {"of": None, **settings}
        more = {
            name: told.pop(name) for name in ("ended_early", "needed", "counts") if name in told
        }
        found = result(told.pop("of"), told.pop("ratios"), **more)
        name = "dpmpp_2m" if found.sampler is None else "ays_model"
        judged: Any = SimpleNamespace(name=name, stochastic=None, note="a note")
        lines = summary(found, judged, **told)
        report = report_text(found, judged, lines, told.get("boundary"))
        answer[case] = {"summary": lines, "report": report}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
