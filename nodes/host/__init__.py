"""The adapter: everything that the nodes ask of ComfyUI, beyond `comfy_api`, passes through here.

    scheduler.py    the scheduler name `ays_model`, and the schedule attached to a MODEL
    model.py        a model's noise levels, its family, the host's own schedules
    samplers.py     which sampler judges schedules, and what its reference is
    reference.py    the sampler of the reference runs
    distilled.py    what to tell users of models distilled to few steps
    measure.py      a MODEL with its guidance, bound to the optimiser
    identity.py     the digest that tells models apart
    latents.py      what a LATENT means to an optimisation
    environment.py  folders, progress, menu category
"""

from .distilled import distilled_warning
from .environment import Progress, register_folders, scheduler_category, show_text, store
from .identity import comparable_digest, guidance_digest, model_identity
from .latents import LatentUse, latent_use
from .measure import GuidedModel, make_guider
from .model import (
    NoiseLevels,
    family,
    host_schedules,
    noise_levels,
    simple_schedule,
    start_level,
)
from .samplers import JudgedSampler, judged_sampler, sampler_names
from .scheduler import SCHEDULER_NAME, attach, register_scheduler

__all__ = [
    "SCHEDULER_NAME",
    "GuidedModel",
    "JudgedSampler",
    "LatentUse",
    "NoiseLevels",
    "Progress",
    "attach",
    "comparable_digest",
    "distilled_warning",
    "family",
    "guidance_digest",
    "host_schedules",
    "judged_sampler",
    "latent_use",
    "make_guider",
    "model_identity",
    "noise_levels",
    "register_folders",
    "register_scheduler",
    "sampler_names",
    "scheduler_category",
    "show_text",
    "simple_schedule",
    "start_level",
    "store",
]
