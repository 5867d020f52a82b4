"""Models distilled to few steps, which schedules cannot be judged on.

What few steps should come close to is the many-step result of the same model. A distilled model
(LCM, Turbo, Lightning, Hyper, DMD) was trained to leap from the few levels of its makers, and what
it paints in many steps is not what it was made for. The runs do not show that: with ever finer
steps they come to a limit as those of any other network do. So the user is told, and decides.
"""

from __future__ import annotations

from typing import Any

__all__ = ["distilled_warning"]

FEW_STEPS = 8
LCM_CLASSES = {"LCM", "ModelSamplingDiscreteDistilled"}  # of the host's node ModelSamplingDiscrete


def distilled_warning(guider: Any, steps: int) -> str | None:
    """Warning to the user who optimises for a GUIDER and so many steps; None: nothing to tell."""
    sampling = guider.model_patcher.get_model_object("model_sampling")
    if LCM_CLASSES & {cls.__name__ for cls in type(sampling).__mro__}:
        return (
            "This model is set to LCM sampling. Such a model is distilled to few steps: its "
            "many-step result, which schedules are measured against, is not what it was made for. "
            "The sampler 'lcm' with the levels of its makers suits it better."
        )
    if steps <= FEW_STEPS and _unguided(guider):
        return (
            f"There is no guidance (cfg 1), and only {steps} steps. If this model is distilled to "
            "few steps (LCM, Turbo, Lightning, Hyper, DMD, Schnell), its many-step result, which "
            "schedules are measured against, is not what it was made for: use the levels of its "
            "makers. For any other model, Flux dev and its guidance in the prompt among them, "
            "all is well."
        )
    return None


def _unguided(guider: Any) -> bool:
    """Tell whether all guidance scales of a GUIDER (cfg; cfg1, cfg2) are 1 or less."""
    scales = [value for name, value in vars(guider).items() if name.startswith("cfg")]
    return bool(scales) and all(isinstance(scale, int | float) and scale <= 1.0 for scale in scales)
