"""The adapter: everything that the nodes ask of ComfyUI, beyond `comfy_api`, passes through here.

scheduler.py    the scheduler name `ays_model`, and the schedule attached to a MODEL
calibrated_sampler.py the sampler of that name, and the fitted steps attached to a MODEL
model.py        a model's noise levels, the host's own schedules
families.py     a model's family: its published table, whether it can be measured
samplers.py     which sampler judges schedules, and what its reference is
reference.py    the sampler of the reference runs
distillation.py what to tell users of models distilled to few steps
guidance.py     a GUIDER that can be watched, and what may be assumed of it
guided_model.py a MODEL with its guidance, bound to the optimiser
watch.py        a GUIDER that is run, its calls counted, checked and remembered
prompts.py      several prompts of one guider
probes.py       what short runs tell of a guided model before it is measured
solver.py       sampling runs with one SAMPLER, as the optimiser calls them
pictures.py     what a measured end point looks like
walker.py       the sampler that evaluates the model along given points
misfit.py       what to tell when a model does not take what is linked
memory.py       how many latents fit into the device at once
pair.py         two of them that share a sampling run
identity.py     the digest that tells models apart
digests.py      digests of nested values
model_digest.py those of a MODEL and of a network in a patch
stable_parts.py what of an object lasts from run to run
leaves.py       plain values and tensors as bytes
run_state.py    what patches remember of their runs
neighbours.py   our names beside packs that have lists of their own
own_weights.py  a model's unpatched weights
beside_weights.py what a network answers by, beside its weights
attributes.py   what an object holds
sources.py      the source of functions
model_files.py  which files a model was loaded from
latents.py      what a LATENT means to an optimisation
tensors.py      what of a tensor can be read
console.py      log lines that every console can print
environment.py  folders, menu category
execution.py    what the host runs at the moment
progress.py     the bar and the text under a node, "Finish now"
routes.py       the HTTP routes
questions.py    what a request to them may bring
"""

from .calibrated_sampler import SAMPLER_NAME, register_sampler
from .console import make_logs_printable
from .distillation import distilled_warning
from .environment import (
    register_folders,
    scheduler_category,
    store,
    unfinished_folder,
)
from .execution import call_with_prompts, running_node
from .families import family, refuse_frames
from .guidance import model_of
from .guided_model import GuidedModel, make_guider
from .identity import comparable_digest, guidance_digest, is_comparable, model_identity
from .latents import LatentUse, first_noise, latent_use
from .model import (
    NoiseLevels,
    host_schedule,
    host_schedules,
    noise_levels,
    sampled_model,
    scheduler_names,
    simple_schedule,
    start_level,
)
from .model_files import loaded_from
from .neighbours import accept_copies, register_names
from .pair import GuidedPair, boundary_level, pair_levels, with_model
from .pictures import decoded
from .progress import Progress, calls_by_phase, show_text
from .prompts import encoded
from .routes import add_routes
from .samplers import JudgedSampler, judged_sampler, sampler_names
from .scheduler import (
    SCHEDULER_NAME,
    Measured,
    attach,
    carries_sampler,
    register_scheduler,
    steps_of_the_first,
)
from .solver import HostSolver
from .tensors import is_readable

__all__ = [
    "SAMPLER_NAME",
    "SCHEDULER_NAME",
    "GuidedModel",
    "GuidedPair",
    "HostSolver",
    "JudgedSampler",
    "LatentUse",
    "Measured",
    "NoiseLevels",
    "Progress",
    "accept_copies",
    "add_routes",
    "attach",
    "boundary_level",
    "call_with_prompts",
    "calls_by_phase",
    "carries_sampler",
    "comparable_digest",
    "decoded",
    "distilled_warning",
    "encoded",
    "family",
    "first_noise",
    "guidance_digest",
    "host_schedule",
    "host_schedules",
    "is_comparable",
    "is_readable",
    "judged_sampler",
    "latent_use",
    "loaded_from",
    "make_guider",
    "make_logs_printable",
    "model_identity",
    "model_of",
    "noise_levels",
    "pair_levels",
    "refuse_frames",
    "register_folders",
    "register_names",
    "register_sampler",
    "register_scheduler",
    "running_node",
    "sampled_model",
    "sampler_names",
    "scheduler_category",
    "scheduler_names",
    "show_text",
    "simple_schedule",
    "start_level",
    "steps_of_the_first",
    "store",
    "unfinished_folder",
    "with_model",
]
