"""The node "Plot Sigmas": a picture of one or several schedules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..schedules import are_timesteps
from . import host
from .inputs.limits import within_limits
from .inputs.schema import supported
from .inputs.sigmas_inputs import linked_sigmas, sigmas_inputs, unusual
from .pictures import BLANK, plot_schedules
from .pictures.picture_file import preview

__all__ = ["AYSPlot"]

NO_PICTURE = (
    "There is no picture, because matplotlib is missing or broken: install it with 'pip install "
    "matplotlib' in ComfyUI's Python, and start ComfyUI again. The log says what is wrong."
)
TIMESTEPS = "looks like timesteps, which are no noise levels"


class AYSPlot(io.ComfyNode):
    """Draw noise levels over steps, and the size of every step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="AYSPlot",
            display_name="Plot Sigmas",
            category=host.scheduler_category(),
            description=(
                "Draws the noise levels of one or several schedules over their steps, and below "
                "them how far each step goes. The axes are logarithmic, because that is how a "
                "model sees noise. Nothing is sampled."
            ),
            inputs=[
                *sigmas_inputs(fewest=1),
                io.String.Input(
                    "labels",
                    default="",
                    optional=True,
                    tooltip="Names for the picture, separated by commas, in the order of the "
                    "inputs: 'mine, karras'. Empty: 'sigmas 1', 'sigmas 2' and so on.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="plot",
                    tooltip="The picture, for Save Image. It is shown under the node too.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            **supported(
                search_aliases=[
                    "ays",
                    "scheduler",
                    "plot sigmas",
                    "show sigmas",
                    "visualize",
                    "graph",
                    "noise schedule",
                ]
            ),
        )

    @classmethod
    @within_limits
    def execute(cls, labels: str = "", **sigmas: Any) -> io.NodeOutput:
        """The picture and a line about each schedule, both shown under the node."""
        linked = linked_sigmas(sigmas)
        if not linked:
            raise ValueError(
                "There is nothing to draw: link the SIGMAS output of a scheduler node."
            )
        schedules = dict(zip(labelled(labels, list(linked)), linked.values(), strict=True))
        text = "\n".join([*remarks(schedules), *summaries(schedules)])
        plot = plot_schedules(schedules)
        if plot is None:
            text = f"{NO_PICTURE}\n{text}"
        host.show_text(cls.hidden.unique_id, text)
        shown: dict[str, Any] = {"text": [text]}
        if plot is not None:
            shown |= preview(plot, cls)
        return io.NodeOutput(BLANK if plot is None else plot, ui=shown)


def labelled(labels: str, names: list[str]) -> list[str]:
    """The names with the typed labels in their place, each different from the others.

    >>> labelled("mine, karras, , mine", ["sigmas 1", "sigmas 2", "sigmas 3", "sigmas 4"])
    ['mine', 'karras', 'sigmas 3', 'mine (2)']
    """
    typed = [label.strip() for label in re.split("[,，、\n]", labels)]  # commas of any keyboard
    different: list[str] = []
    for label, name in zip_longest(typed[: len(names)], names, fillvalue=""):
        wanted = unique = label or name
        number = 1
        while unique in different:
            number += 1
            unique = f"{wanted} ({number})"
        different.append(unique)
    return different


def remarks(schedules: Mapping[str, Tensor]) -> list[str]:
    """A sentence about every schedule [n] that is unusual.

    >>> remarks({"mine": Tensor([14.6, 2.0, 3.0]), "yours": Tensor([14.6, 2.0, 0.0])})
    ['mine rises at step 2.']
    >>> remarks({"mine": Tensor([999.0, 500.0, 24.0, 0.0])})
    ['mine looks like timesteps, which are no noise levels.']
    """
    problems = {name: unusual(sigmas) or _timesteps(sigmas) for name, sigmas in schedules.items()}
    return [f"{name} {problem}." for name, problem in problems.items() if problem]


def _timesteps(sigmas: Tensor) -> str | None:
    return TIMESTEPS if are_timesteps(sigmas.tolist(), float("inf")) else None


def summaries(schedules: Mapping[str, Tensor]) -> list[str]:
    """A line about every schedule [n]: its first and last levels.

    >>> summaries({"mine": Tensor([14.6, 2.0, 0.1, 0.0]), "yours": Tensor([14.6, 2.0])})
    ['mine: 3 steps, 14.6 … 0.1, 0.', 'yours: 1 step, 14.6 … 2.']
    """
    lines = []
    for name, sigmas in schedules.items():
        levels = [f"{level:.4g}" for level in sigmas.tolist()]
        steps = len(levels) - 1
        ends = f"{levels[-2]}, 0" if steps > 1 and levels[-1] == "0" else levels[-1]
        lines.append(f"{name}: {steps} step{'' if steps == 1 else 's'}, {levels[0]} … {ends}.")
    return lines
