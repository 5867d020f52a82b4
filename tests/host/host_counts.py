"""A script for the host's process: what is said and taken where several counts are fitted.

It prints JSON. A model carries what was fitted for OWN steps, and the weights alone for SIMPLER:

    schedulers  steps -> the lines of the scheduler `ays_model`, for the sampler of that name
    others      the same for the sampler euler
    samplers    case -> the lines of the sampler `ays_model`
    joined      what `with_samplers` makes of results: [steps, whether weights alone] each
    chosen      case -> for each of RUNS what `choose` takes of what is saved: its name, `why`, and
                [steps, whether weights alone] of the samplers that it has
"""

from __future__ import annotations

import importlib
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from align_your_steps.tests.host.in_host import heard, prompt

OWN, SIMPLER, SIZE, CFG = 5, (7, 10), 8, 3.0
ASKED = (3, OWN, *SIMPLER)
RUNS = (
    (7, "ays_model"),
    (7, "euler"),
    (7, None),
    (None, None),
)  # steps and sampler, as far as known


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.samplers
    from align_your_steps.nodes import host
    from align_your_steps.nodes.host.scheduler import attached_schedule
    from align_your_steps.nodes.inputs.choose import choose
    from align_your_steps.nodes.results.fitted_sampler import with_samplers
    from align_your_steps.schedules import CalibratedSampler, Provenance, SavedSchedule, Schedule
    from align_your_steps.schedules.store import Store
    from align_your_steps.tests.host.test_pack.model import build

    lines = heard()
    host.register_scheduler()
    host.register_sampler()
    model = build("gaussian mixture", "eps", seed=7, shift=3.0)
    identity, top = host.model_identity(model), host.noise_levels(model).sigma_max

    def curve(steps: int) -> tuple[float, ...]:
        return (*(top * 0.5**k for k in range(steps)), 0.0)

    def fitted(steps: int, simpler: bool, whole: float = 1.0) -> CalibratedSampler:
        # Levels of their own: a run is told by them whose it is.
        levels = tuple(t * (1.0 + 0.001 * steps * (i > 0)) for i, t in enumerate(curve(steps)))
        return CalibratedSampler(levels, levels[:-1], ((whole,),) * steps, simpler)

    def result(name: str, steps: int, sampler: str, *of: CalibratedSampler) -> SavedSchedule:
        schedule = Schedule(curve(steps), name, Provenance("", "", ""))
        request = {"identity": identity, "sampler": sampler, "steps": steps, "cfg": CFG, "n": name}
        return SavedSchedule(schedule, identity, request, samplers=of)

    def counts(samplers: Any) -> list[list[Any]]:
        return [[one.steps, one.weights_only] for one in samplers]

    def lines_of(act: Any) -> list[str]:
        lines.clear()
        act()
        return list(lines)

    own = [fitted(OWN, False), *(fitted(steps, True) for steps in SIMPLER)]

    def attached(*samplers: CalibratedSampler) -> Any:
        plain = Schedule(curve(OWN), "it", Provenance("", "", ""))
        return host.attach(model, plain, host.Measured(cfg=CFG), samplers)

    def asked(sampler: str, steps: int) -> list[str]:
        sampling = attached(*own).get_model_object("model_sampling")
        return lines_of(lambda: attached_schedule(sampling, steps, sampler, spare=False))

    mask = torch.ones(1, 8 * SIZE, 8 * SIZE)
    mask[..., : 4 * SIZE] = 0.0

    def sampled(of: list[CalibratedSampler], levels: Any, masked: bool = False) -> list[str]:
        noise = torch.zeros(1, 1, SIZE, SIZE)
        guider = host.make_guider(attached(*of), prompt(3), prompt(-1), CFG)
        ays_model = comfy.samplers.sampler_object("ays_model")
        given = {"denoise_mask": mask if masked else None, "disable_pbar": True, "seed": 1}
        sigmas = torch.tensor(levels)
        return lines_of(lambda: guider.sample(noise, noise, ays_model, sigmas, **given))

    simple = own[1].levels
    unmasked = [fitted(OWN, False, 1.1), *own[1:]]  # of what is kept the fit for OWN keeps nothing

    def chosen(results: list[SavedSchedule]) -> list[Any]:
        with tempfile.TemporaryDirectory() as folder:
            store = Store([Path(folder)])
            for one in results:
                store.save(one)
            host.store = lambda: store
            found = []
            for steps, sampler in RUNS:
                choice = choose(model, "auto", steps=steps, sampler=sampler)
                has = counts(choice.saved.samplers)
                found.append([choice.schedule.name, choice.why, has])
            return found

    full, simpler = fitted(7, False), fitted(7, True)
    by_full = result("full", 7, "ays_model", full)
    by_weights = result("weights", OWN, "ays_model", own[0], simpler, fitted(10, True))
    textbook = result("textbook", 7, "euler")
    joined = with_samplers(
        by_weights,
        [result("more", 10, "ays_model", fitted(10, False), fitted(4, True), fitted(OWN, True)),
         by_full, result("masked", 3, "ays_model")],
    )  # fmt: skip
    with torch.inference_mode():
        answer = {
            "schedulers": {steps: asked("ays_model", steps) for steps in ASKED},
            "others": {steps: asked("euler", steps) for steps in ASKED},
            "samplers": {
                "own": sampled(own, own[0].levels),
                "simpler": sampled(own, simple),
                "part of simpler": sampled(own, [*simple[:4], 0.01, 0.0]),
                "end of simpler": sampled(own, simple[3:]),
                "elsewhere": sampled(own, curve(3)),
                "elsewhere, one fit": sampled(own[:1], curve(3)),
                "masked": sampled(own, simple, True),
                "masked, not its fit": sampled(unmasked, own[0].levels, True),
                "masked, no fit": sampled(unmasked[:1], own[0].levels, True),
            },
            "joined": counts(joined.samplers),
            "joined to none": counts(with_samplers(textbook, [by_full]).samplers),
            "chosen": {
                "all": chosen([by_full, by_weights, textbook]),
                "no full": chosen([by_weights, textbook]),
                "no textbook": chosen([by_full, by_weights]),
            },
        }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
