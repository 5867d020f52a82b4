"""A script for the host's process: KSampler with an attached schedule, at any steps and denoise.

It prints JSON. For every kind of schedule of CASES and every sampler of SAMPLERS:

    asked   how many pairs of steps and denoise were asked for
    wrong   the pairs for which KSampler's levels are too many or too few, do not strictly fall, do
            not end in 0, or are not those of the schedule for the steps that it asks for
    lines   how many log lines told of two runs with the same number of steps
    told    the line for a second pass at denoise 0.5
    own     whether a sampler that was measured gets the measured levels: from KSampler, and from
            BasicScheduler

and for `progress` how far the bar was, of how much, in the second of three optimisations.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

SAMPLERS = ("dpmpp_2m", "dpm_2")
STEPS = range(1, 101)
DENOISE = [0.05, *(tenths / 10 for tenths in range(1, 11))]
MEASURED, PART = 10, 0.6
CASES = {
    # prediction, denoise that the schedule was measured for, whether it has derived levels
    "eps": ("eps", 1.0, True),
    "eps, nothing derived": ("eps", 1.0, False),
    "eps, img2img": ("eps", PART, False),
    "flow": ("flow", 1.0, True),
}


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.samplers
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.schedules import Provenance, Schedule
    from align_your_steps.tests.host.in_host import heard
    from align_your_steps.tests.host.test_pack.model import build

    lines = heard()
    host.register_scheduler()

    def bent(levels: Any, steps: int, first: float) -> tuple[float, ...]:
        """Levels that no resampling leaves as they are."""
        low = levels.sigma_min
        points = torch.linspace(0, 1, steps + 1).double() ** 1.1
        sigmas = first * (low / first) ** points
        return (*sigmas[:-1].tolist(), 0.0)

    def answer(prediction: str, denoise: float, derived: bool, sampler: str) -> dict[str, Any]:
        model = build("gaussian mixture", prediction, seed=7, shift=3.0)
        levels = host.noise_levels(model)
        first = host.start_level(levels, MEASURED, denoise)
        others = tuple(bent(levels, n, first) for n in (4, 6, 15, 30)) if derived else ()
        schedule = Schedule(
            bent(levels, MEASURED, first), "mine", Provenance("me", "it", "now"), others
        )
        attached = host.attach(model, schedule, host.Measured(denoise))

        def ksampler(steps: int, part: float) -> torch.Tensor:
            chosen = comfy.samplers.KSampler(
                attached, steps, attached.load_device, sampler, host.SCHEDULER_NAME, part
            )
            sigmas: torch.Tensor = chosen.sigmas
            return sigmas

        wrong = []
        for steps in STEPS:
            for part in DENOISE:
                sigmas = ksampler(steps, part)
                total = int(steps / part)
                right = len(sigmas) == steps + 1 and bool((sigmas.diff() < 0).all())
                known = {len(known) - 1: known for known in (schedule.levels, *others)}
                if denoise >= 1.0 and total in known:
                    kept = torch.tensor(known[total][-(steps + 1) :])
                    right = right and torch.equal(sigmas, kept)
                if not right or sigmas[-1] != 0:
                    wrong.append([steps, part])
        lines.clear()
        attached = host.attach(model, schedule, host.Measured(denoise))
        ksampler(12, 0.5)
        ksampler(12, 0.5)
        told = list(lines)
        measured = torch.tensor(schedule.levels)
        sampling = attached.get_model_object("model_sampling")
        basic = comfy.samplers.calculate_sigmas(
            sampling, host.SCHEDULER_NAME, int(MEASURED / denoise)
        )
        return {
            "asked": len(STEPS) * len(DENOISE),
            "wrong": wrong,
            "lines": len(told),
            "told": told[0],
            "own": [
                torch.equal(ksampler(MEASURED, denoise), measured),
                torch.equal(basic[-(MEASURED + 1) :], measured),
            ],
        }

    def progress() -> list[list[float]]:
        # Off the bar itself: newer hosts do not send everything on that comes within a moment.
        bar: list[list[float]] = []
        second = host.Progress(None, 100, parts=3)
        second.part(1, "8 steps")
        for tell in (
            lambda: second("reference", 40),
            lambda: second("candidates", 120),  # more than the budget
            lambda: second.done(""),
        ):
            tell()
            bar.append([second.bar.current, second.bar.total])
        return bar

    answers: dict[str, Any] = {
        case: {sampler: answer(*settings, sampler) for sampler in SAMPLERS}
        for case, settings in CASES.items()
    }
    print(json.dumps({**answers, "progress": progress()}))


if __name__ == "__main__":
    main()
