"""The node "Merge AYS Profiles": one profile of those that several machines have measured."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..profiles import MeasuredProfile, account, alone, as_result, merge
from ..schedules import SavedSchedule
from . import host
from .inputs.choose import fingerprint
from .inputs.limits import within_limits
from .inputs.profile import AYS_PROFILE
from .inputs.schedule_list import parsed_results
from .inputs.schema import supported
from .results.save import keep

__all__ = ["AYSMergeProfiles"]


class AYSMergeProfiles(io.ComfyNode):
    """Put the profiles of several saved results into one, and save it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="AYSMergeProfiles",
            display_name="Merge AYS Profiles",
            category=host.scheduler_category(),
            description=(
                "Puts together what several machines have measured of one model. Every result that "
                "Optimize AYS saves holds a profile of the model; profiles of other seeds add, and "
                "make the next optimisation surer. Nothing is sampled."
            ),
            inputs=[
                io.String.Input(
                    "results",
                    default="",
                    multiline=True,
                    tooltip="Names of saved results, separated by commas or lines, as the schedule "
                    "lists show them. They must be of the same model, prompts, cfg and latent, "
                    "each measured with another seed. A single one is handed on as it is.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="The name under which the merged profile is saved. Empty: made from "
                    "the number of samples.",
                ),
                io.Boolean.Input(
                    "same_prompts",
                    default=False,
                    tooltip="Prompts are compared by their numbers, which a text encoder may round "
                    "differently on another kind of hardware. Switch this on if you know that all "
                    "results were measured with the same prompts.",
                ),
            ],
            outputs=[
                AYS_PROFILE.Output(
                    display_name="profile",
                    tooltip="The merged profile, for Optimize AYS with the same model, prompts, "
                    "cfg and latent.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="How many samples each result has, and how much surer all together "
                    "are.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            **supported(
                search_aliases=[
                    "ays",
                    "scheduler",
                    "merge profiles",
                    "several machines",
                    "farm",
                ]
            ),
        )

    @classmethod
    def validate_inputs(cls, results: str | None = None) -> bool | str:
        """A name that nothing has is told before anything runs."""
        try:
            parsed_results(results or "")  # None: linked, not yet known
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, results: str | None = None, **_: Any) -> Any:
        """A cached output holds until a result that is merged changes."""
        try:
            return " ".join(fingerprint(name) for name in parsed_results(results or ""))
        except ValueError:
            return ""

    @classmethod
    @within_limits
    def execute(cls, results: str, name: str, same_prompts: bool) -> io.NodeOutput:
        """Merge, save and report."""
        names = parsed_results(results)
        host.store().check_name(name)
        if not names:
            raise ValueError(
                "There is nothing to merge: write the names of two or more saved results into "
                "'results', separated by commas or lines."
            )
        loaded = [_loaded(each) for each in names]
        parts = [MeasuredProfile.of(saved, each) for saved, each in zip(loaded, names, strict=True)]
        if len(parts) == 1:
            (whole,) = parts
            text = alone(whole)
        else:
            store = host.store()
            merged = merge(parts, name.strip(), same_prompts=same_prompts)
            text = account(merged)
            saved = as_result(merged, loaded, name.strip(), text)
            if not name.strip():
                free = store.free_name(f"{merged.whole.profile.count} samples merged", saved.digest)
                saved = as_result(merged, loaded, free, text)
            whole = merged.whole.called(saved.schedule.name)
            kept, _ = keep(store, saved)
            text += f"\n\n{kept}"
        host.show_text(cls.hidden.unique_id, text)
        return io.NodeOutput(whole, text, ui={"text": [text]})


def _loaded(name: str) -> SavedSchedule:
    """A saved result with its tensors."""
    saved = host.store().load(name)
    if saved is None:
        raise ValueError(
            f"The saved result '{name}' cannot be read any more: the log says why, if its file is "
            "still there."
        )
    return saved
