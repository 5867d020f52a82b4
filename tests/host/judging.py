"""Samplers judged in the host's process, for host_judged.py, whose answer is described there.

To be imported there once the host is on the CPU.
"""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from align_your_steps.nodes import host
from align_your_steps.nodes.results.report import report_text
from align_your_steps.nodes.results.summary import summary
from align_your_steps.optimizer import optimize
from align_your_steps.tests.host.in_host import distance, fine_levels, prompt
from align_your_steps.tests.host.odd_samplers import odd_samplers
from align_your_steps.tests.host.sampler_nodes import node_samplers
from align_your_steps.tests.host.test_pack.meter import METER
from align_your_steps.tests.host.test_pack.model import build
from torch import Tensor

__all__ = ["Judging"]

STEPS_OF_ORDER, FINEST = (16, 32), 256
NOISES, SIZE, CFG = 2, 8, 1.5


class Judging:
    """Samplers of one model, judged for runs of `steps` steps, each within `budget` calls."""

    def __init__(self, prediction: str, steps: int, budget: int) -> None:
        host.register_sampler()
        generator = torch.Generator().manual_seed(1)
        self.noise = torch.randn(NOISES, 1, SIZE, SIZE, generator=generator)
        self.model = build("gaussian mixture", prediction, seed=7, shift=3.0)
        self.levels = host.noise_levels(self.model)
        self.steps, self.budget = steps, budget
        self._finest: dict[str, Tensor] = {}  # end points: one for all samplers with one limit

    def answer(self, which: str) -> dict[str, Any]:
        """Answer for the samplers of 'names', of 'objects' or 'all'."""
        names = {name: None for name in host.sampler_names()}
        objects = {**node_samplers(self.model), **odd_samplers()}
        chosen = {"names": names, "objects": objects, "all": names | objects}[which]
        further = self._errors if which == "all" else self._optimised
        answer = {name: self._row(name, sampler, further) for name, sampler in chosen.items()}
        if which == "all":
            answer["warnings"] = warnings(self.model)
            answer["again"] = {
                label: host.judged_sampler("", sampler).options
                for label, sampler in node_samplers(self.model).items()
                if "refused" not in answer[label]
            }
        return answer

    def _row(self, name: str, sampler: Any, further: Any) -> dict[str, Any]:
        """Row of a sampler: what is known of it, and what `further` measures."""
        use = host.latent_use(self.model, {"samples": torch.zeros(1, 1, SIZE, SIZE)}, 1.0)
        guider = host.make_guider(self.model, prompt(3), prompt(-1), CFG)
        METER.reset()
        try:
            judged = host.judged_sampler(name, sampler)
            own = host.GuidedModel(guider, self.levels, use, judged)
            solver, reference = own.solver(), own.reference()
        except ValueError as error:
            return {"refused": str(error)}
        asked = METER.calls
        return {
            "name": judged.name,
            "note": judged.note,
            "options": judged.options,
            "by_distribution": judged.stochastic is not None,
            "order": judged.order,
            "reference_order": judged.reference_order,
            "calls_per_step": solver.calls_per_step,
            "spare_level": judged.spare_level,
            "asked": asked,
            **further(name, own, solver, reference),
        }

    def _errors(self, name: str, own: Any, solver: Any, reference: Any) -> dict[str, Any]:
        """Calls of a run, and errors of finer ones."""

        def run(solver: Any, steps: int) -> Tensor:
            own.meter.forget()
            end: Tensor = solver(self.noise, fine_levels(self.levels, steps), seed=0)
            return end

        run(solver, self.steps)
        calls = own.meter.calls
        limit = "of all" if own.sampler.reference_order == 3 else name
        if limit not in self._finest:
            self._finest[limit] = run(reference, FINEST)
        ends = [run(solver, steps) for steps in STEPS_OF_ORDER]
        return {"calls": calls, "errors": [distance(end, self._finest[limit]) for end in ends]}

    def _optimised(self, name: str, own: Any, solver: Any, reference: Any) -> dict[str, Any]:
        """Optimise the schedule of a sampler."""
        judged, levels = own.sampler, self.levels
        result = optimize(
            own,
            own.shape,
            sigma_max=levels.sigma_max,
            sigma_min=levels.sigma_min,
            steps=self.steps,
            solver=own.calibration(levels.sigma_max) if judged.is_calibrated else own.judged(),
            candidates=host.host_schedules(levels, self.steps, 1.0, spare_level=judged.spare_level),
            budget=self.budget,
            coordinate=levels.coordinate,
        )
        return {
            "sigmas": result.sigmas.tolist(),
            "report": report_text(result, judged, summary(result, judged)),
            "rows": own.meter.rows,
        }


def warnings(model: Any) -> dict[str, str | None]:
    """Warnings of guiders at 8 and 9 steps: what the user is told of a distilled model."""
    advanced = import_module("comfy_extras.nodes_model_advanced")
    (as_lcm,) = advanced.ModelSamplingDiscrete().patch(model, "lcm", zsnr=False)
    two = import_module("comfy_extras.nodes_custom_sampler").Guider_DualCFG(model)
    two.set_cfg(5.0, 1.0)
    guiders = {
        "cfg 1": host.make_guider(model, prompt(3), prompt(-1), 1.0),
        "cfg 3": host.make_guider(model, prompt(3), prompt(-1), 3.0),
        "two scales": two,
        "unknown": SimpleNamespace(model_patcher=model),
        "LCM": host.make_guider(as_lcm, prompt(3), prompt(-1), 3.0),
    }
    return {
        f"{name}, {steps} steps": host.distilled_warning(guider, steps)
        for name, guider in guiders.items()
        for steps in (8, 9)
    }
