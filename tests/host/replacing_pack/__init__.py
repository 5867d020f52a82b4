"""A stand-in for packs that put lists of their own in the place of the host's."""

from __future__ import annotations

from typing import Any

import comfy.samplers

OWN = "of_the_neighbour"


def replace() -> None:
    """Put in the host's names as this pack knows them, and its own."""
    schedulers = [name for name in comfy.samplers.SCHEDULER_HANDLERS if name != "ays_model"]
    samplers = [name for name in comfy.samplers.SAMPLER_NAMES if name != "ays_model"]
    handlers = {name: comfy.samplers.SCHEDULER_HANDLERS[name] for name in schedulers}
    comfy.samplers.SCHEDULER_HANDLERS = {OWN: handlers["karras"], **handlers}
    comfy.samplers.SCHEDULER_NAMES = list(comfy.samplers.SCHEDULER_HANDLERS)
    comfy.samplers.KSampler.SCHEDULERS = [*comfy.samplers.SCHEDULER_NAMES]
    comfy.samplers.SAMPLER_NAMES = samplers
    comfy.samplers.KSampler.SAMPLERS = tuple(samplers)


class ReplaceLists:
    """The same once more, in a run."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "run", "tests", True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """No inputs."""
        return {"required": {}}

    def run(self) -> tuple[()]:
        """Replace them."""
        replace()
        return ()


replace()
NODE_CLASS_MAPPINGS = {"ReplaceLists": ReplaceLists}
