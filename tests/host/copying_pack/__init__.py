"""A stand-in for packs that offer the lists of schedulers and samplers as they were at import."""

from __future__ import annotations

from typing import Any

import comfy.samplers

SCHEDULERS = list(comfy.samplers.KSampler.SCHEDULERS)
SAMPLERS = list(comfy.samplers.KSampler.SAMPLERS)
WHEN = "Late" if "ays_model" in SCHEDULERS else "Early"  # after our pack or before it
OTHERS = SCHEDULERS[1:]  # another list, whoever else is there


def chooser(names: list[str]) -> type:
    """A node that hands on a name of a list."""

    class Chooser:
        RETURN_TYPES, FUNCTION, CATEGORY = (names,), "choose", "tests"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {"choice": (names,)}}

        def choose(self, choice: str) -> tuple[str]:
            return (choice,)

    return Chooser


NODE_CLASS_MAPPINGS = {
    f"{WHEN}{kind}": chooser(names)
    for kind, names in (
        ("Schedulers", SCHEDULERS),
        ("Samplers", SAMPLERS),
        ("OtherSchedulers", OTHERS),
    )
}
