"""What the GPU figures are taken on, what a run is said to have taken, and where runs are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .unet import SD15, SDXL, Sizes

__all__ = ["CASES", "CFG", "SAMPLER", "STEPS", "TINY", "TOKENS", "Case", "Stand", "Taken"]

STEPS, SAMPLER, CFG = 10, "dpmpp_2m", 7.0
TOKENS = 77  # of a prompt
TINY_SD15 = Sizes((1, 2), (1, 0), 1, context=32, heads=2, channels=32)
TINY_SDXL = Sizes((1, 2), (0, 1), 2, context=32, label=48, channels=64)


@dataclass(frozen=True)
class Case:
    """A model and the latents that it is asked for.

    side:   of a latent, which has 4 side² elements
    sizes:  of the network, for runs without ComfyUI
    family: of the checkpoint that the test pack writes for ComfyUI, and its class there
    width:  of a prompt's token there; pooled: of the vector beside the prompt, 0 for none
    """

    name: str
    side: int
    sizes: Sizes
    family: str
    kind: str
    width: int
    pooled: int = 0


CASES = {
    "SD1.5": Case("SD1.5, 64x64", 64, SD15, "SD1.5 full", "SD15", 768),
    "SDXL": Case("SDXL, 128x128", 128, SDXL, "SDXL full", "SDXL", 2048, 1280),
}
# The same code in seconds, on a CPU; the host's are the smallest that it takes for the family.
TINY = {
    "SD1.5": Case("tiny SD1.5, 4x4", 4, TINY_SD15, "SD1.5", "SD15", 768),
    "SDXL": Case("tiny SDXL, 4x4", 4, TINY_SDXL, "SDXL 700M", "KOALA_700M", 2048, 1280),
}


@dataclass(frozen=True)
class Taken:
    """Time and memory that a run has taken.

    calls:     of the network
    rows:      guided ones: latents summed over the calls
    seconds:   on the wall
    allocated: bytes of the GPU's memory in tensors at the peak, the weights' among them; reserved:
               bytes held for them, which is what others lack. None: not on a GPU
    """

    calls: int
    rows: int
    seconds: float
    allocated: int | None = None
    reserved: int | None = None


class Stand(Protocol):
    """A place where a case is run."""

    def plain(self, latents: int) -> Taken:
        """Sample so many latents at once, with STEPS steps."""

    def rows_a_call(self) -> int:
        """Latents a call in the optimisation; whatever a first run prepares is prepared."""

    def bare(self, latents: int) -> Taken:
        """Calls of so many latents and nothing else."""

    def optimise(self) -> Taken:
        """The optimisation, with all that belongs to it."""
