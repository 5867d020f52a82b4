"""The node "Plot Sigmas": a picture of one or several schedules."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from . import host
from .plot import plot_schedules
from .schema import supported
from .sigmas_inputs import linked_sigmas, sigmas_inputs

__all__ = ["AYSPlot"]


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
                    "align your steps",
                    "scheduler",
                    "optimize",
                    "plot sigmas",
                    "show sigmas",
                    "visualize",
                    "graph",
                    "noise schedule",
                ]
            ),
        )

    @classmethod
    def execute(cls, labels: str = "", **sigmas: Any) -> io.NodeOutput:
        """The picture, shown under the node."""
        schedules = linked_sigmas(sigmas, strict=False)
        plot = plot_schedules(schedules)
        return io.NodeOutput(plot, ui=ui.PreviewImage(plot, cls=cls))
