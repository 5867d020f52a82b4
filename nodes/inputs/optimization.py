"""Inputs of an optimisation beside those that several nodes share: how long, how, and for what."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_api.latest import io

from .limits import shortened
from .profile import AYS_PROFILE
from .schema import MOST_STEPS, seed_input

__all__ = ["ANEW", "further_inputs", "more_counts", "search_inputs"]

MOST_MORE = 30  # further numbers of steps
SAVED, ANEW = "saved if equal", "measure again"


def search_inputs(methods: Sequence[str]) -> list[io.Input]:
    """Inputs that say how a schedule is searched: how long, from which seed, by which method."""
    return [
        io.Int.Input(
            "budget",
            default=1000,
            min=0,
            max=10_000_000,
            step=100,  # of the arrows: our page extension takes any number that is typed
            tooltip="How many model calls to spend. A call is one step of an image, "
            "with cfg too: 1000 take about as long as fifty images of 20 steps. More "
            "give a better and surer result.",
        ),
        io.Float.Input(
            "minutes",
            default=0.0,
            min=0.0,
            max=10_000.0,
            step=1.0,  # of the arrows, as above
            round=0.01,
            tooltip="The most minutes to spend, also on all of more_steps together; 0: no "
            "limit. When time is short, fewer schedules are tried and the best one so far "
            "is taken. For a surer choice, queue again with more minutes.",
        ),
        seed_input(
            "The first of the seeds that are measured on. The same seed gives "
            "the same result; there is no need to change it, unless several machines "
            "measure one model: give each its own."
        ),
        io.Combo.Input(
            "method",
            options=list(methods),
            default="measured",
            tooltip="'measured': many candidates, ComfyUI's schedules among them, are run, "
            "and the one closest to the images in many steps wins. 'paper (KLUB)': only "
            "the schedules of the paper's own search, stopped early by the same measure.",
        ),
        io.Combo.Input(
            "reuse",
            options=[SAVED, ANEW],
            default=SAVED,
            tooltip="'saved if equal': if a result for exactly these inputs is saved, "
            "take it at once. 'measure again': always measure, every time it is queued.",
        ),
        io.String.Input(
            "name",
            default="",
            tooltip="The name in the schedule drop-downs. Empty: made from checkpoint, "
            "LoRAs, sampler, steps and cfg.",
        ),
    ]


def further_inputs() -> list[io.Input]:
    """Inputs that nobody needs for a first result: other step counts, a second model, a picture."""
    return [
        io.String.Input(
            "more_steps",
            default="",
            optional=True,
            tooltip="Also optimise for these numbers of steps, for example '5, 8, 20'. "
            "Each costs the budget again and is saved under a name of its own.",
        ),
        io.Model.Input(
            "second_model",
            optional=True,
            tooltip="A model that goes on where 'model' stops, with the same prompts and "
            "cfg: the low-noise expert of Wan 2.2, for example. Set boundary_step too.",
        ),
        io.Guider.Input(
            "second_guider",
            optional=True,
            tooltip="Instead of second_model: a guider with the second model, its own "
            "prompts and cfg. The SDXL refiner needs it.",
        ),
        io.Int.Input(
            "boundary_step",
            default=0,
            min=0,
            max=MOST_STEPS,
            optional=True,
            tooltip="With a second model: after how many of the steps it takes over when "
            "you sample with the scheduler 'simple'. The noise level there is kept; the "
            "report says after how many steps of the optimised schedule it comes.",
        ),
        AYS_PROFILE.Input(
            "profile",
            optional=True,
            tooltip="What several machines have measured of this very model, prompts, cfg "
            "and latent, from Merge AYS Profiles. Then no profile is measured here, and "
            "its calls are spent on the rest.",
        ),
        io.Vae.Input(
            "vae",
            optional=True,
            tooltip="Link a VAE to see what is gained: one seed with the best standard "
            "choice at these steps, with the result, and in many steps. Takes no model "
            "call.",
        ),
    ]


def more_counts(text: str, steps: int) -> list[int]:
    """The numbers of steps in a text, each once, without those that are optimised anyway.

    Raises ValueError for anything but whole numbers from 1 to 1000, and for very many.

    >>> more_counts("5, 8 20, 8", 20)
    [5, 8]
    """
    words = text.replace(",", " ").replace(";", " ").split()
    counts = [int(word) if word.isascii() and word.isdigit() else 0 for word in words]
    if not all(1 <= count <= MOST_STEPS for count in counts):
        raise ValueError(
            f"more_steps was {shortened(text)}: give whole numbers of steps from 1 to "
            f"{MOST_STEPS}, separated by commas, for example '5, 8, 20', or leave it empty."
        )
    more = [count for count in dict.fromkeys(counts) if count != steps]
    if len(more) > MOST_MORE:
        raise ValueError(
            f"more_steps has {len(more)} numbers of steps: give at most {MOST_MORE}, because each "
            "takes the budget again."
        )
    return more
