"""The node "Optimize AYS": measures the loaded model and finds the best schedule for it."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..optimizer import Result, optimize
from ..schedules import Provenance, SavedSchedule, Schedule, Store
from ..schedules.curves import time_uniform
from . import host
from .choose import published
from .plot import plot_schedules
from .report import comparison, report_text
from .schema import supported

__all__ = ["AYSOptimize"]

METHODS = {"measured": "measured", "paper (KLUB)": "paper"}
REUSE = ("saved if equal", "measure again")
PAPER_STEPS = 10
OTHER_STEPS = (4, 5, 6, 8, 10, 12, 15, 20, 25, 30)  # saved with every result

log = logging.getLogger("align_your_steps")


class AYSOptimize(io.ComfyNode):
    """Optimise a schedule for the linked model, prompt and sampler; save it and attach it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="AYSOptimize",
            display_name="Optimize AYS",
            category=host.scheduler_category(),
            description=(
                "Finds the noise levels with which your model, with its LoRAs, prompt, guidance "
                "and sampler, comes closest to what it would paint with many steps. Needs some "
                "minutes once; the result is saved, and 'auto' finds it again for this model."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model to optimise for, with its LoRAs."),
                io.Conditioning.Input(
                    "positive",
                    optional=True,
                    tooltip="The prompt. Needed unless a guider is linked.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="The negative prompt. Needed unless a guider is linked or cfg is 1.",
                ),
                io.Float.Input(
                    "cfg",
                    default=7.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="The guidance scale that you will sample with: the best schedule "
                    "depends on it. Not used when a guider is linked.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=host.sampler_names(),
                    default="dpmpp_2m",
                    tooltip="The sampler that you will use: the best schedule depends on it. Not "
                    "used when a sampler is linked.",
                ),
                io.Int.Input(
                    "steps",
                    default=10,
                    min=1,
                    max=1000,
                    tooltip="The number of steps that you will sample with. The fewer, the more "
                    "an optimised schedule gains.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="As in KSampler: 1 for new images; below 1 the linked latent is the "
                    "start image, and only the part of the schedule that is run is optimised.",
                ),
                io.Latent.Input(
                    "latent_image",
                    tooltip="An empty latent of the size that you will sample: it gives the size "
                    "only. Encoded images are used as example data. With denoise below 1 or a "
                    "noise mask: the image to start from.",
                ),
                io.Int.Input(
                    "budget",
                    default=4000,
                    min=0,  # the page counts steps from here: 100, 200, ...
                    max=10_000_000,
                    step=100,
                    tooltip="How many model calls to spend. One image of 20 steps takes 20 calls "
                    "(each worth two network evaluations when cfg is not 1), so 4000 calls take "
                    "as long as 200 such images. More calls give a surer choice.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Of the noise that schedules are compared on. The same seed gives "
                    "the same schedule; there is no need to change it.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="measured",
                    tooltip="'measured': many candidate schedules, yours among them, are run and "
                    "the one closest to the fine-step result wins. 'paper (KLUB)': only the "
                    "schedules of the paper's own search, stopped early by the same measure.",
                ),
                io.Combo.Input(
                    "reuse",
                    options=list(REUSE),
                    default=REUSE[0],
                    tooltip="'saved if equal': if a result for exactly these inputs is saved, "
                    "take it at once. 'measure again': always measure, every time it is queued.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="The name in the schedule drop-downs. Empty: made from sampler, steps "
                    "and cfg.",
                ),
                io.Guider.Input(
                    "guider",
                    optional=True,
                    tooltip="Instead of model, cfg and prompts: exactly this guider is measured.",
                ),
                io.Sampler.Input(
                    "sampler",
                    optional=True,
                    tooltip="Instead of sampler_name: exactly this sampler, with its options.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="The model with the schedule attached: choose the scheduler "
                    "'ays_model' in KSampler.",
                ),
                io.Sigmas.Output(
                    tooltip="The optimised noise levels, for SamplerCustom and "
                    "SamplerCustomAdvanced.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="What was measured: every schedule's error, the calls spent, the file.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            **supported(search_aliases=["ays", "align your steps", "optimize", "scheduler"]),
        )

    @classmethod
    def fingerprint_inputs(cls, reuse: str, **_: Any) -> Any:
        """'measure again' runs every time it is queued."""
        return float("nan") if reuse == REUSE[1] else ""

    @classmethod
    def execute(
        cls,
        model: Any,
        cfg: float,
        sampler_name: str,
        steps: int,
        denoise: float,
        latent_image: dict[str, Any],
        budget: int,
        seed: int,
        method: str,
        reuse: str,
        name: str,
        positive: Any = None,
        negative: Any = None,
        guider: Any = None,
        sampler: Any = None,
    ) -> io.NodeOutput:
        """Measure, or take the saved result; attach it, and report."""
        # A workflow may write 7 where the widget writes 7.0: they are the same request.
        cfg, denoise = float(cfg), float(denoise)
        scale: float | None = cfg
        if guider is None:
            guider = _guider(model, positive, negative, cfg)
        else:
            scale = getattr(guider, "cfg", None)
        measured_model = guider.model_patcher
        latent = host.latent_use(measured_model, latent_image, denoise)
        judged = host.judged_sampler(sampler_name, sampler)
        guided = host.GuidedModel(guider, host.noise_levels(measured_model), latent, judged)
        request = {
            "identity": host.model_identity(measured_model),
            "guidance": host.guidance_digest(guider),
            "cfg": scale,
            "sampler": judged.name,
            "sampler_options": judged.options,
            "steps": steps,
            "shape": latent.sizes,
            "latent": latent.digest,
            "denoise": denoise,
            "method": method,
            "budget": budget,
            "seed": seed,
        }
        others = _others(guided.levels, steps, denoise, judged.spare_level)
        progress = host.Progress(cls.hidden.unique_id, budget)
        store = host.store()
        saved = store.find(request) if reuse == REUSE[0] else None
        if saved is None:
            try:
                saved = _measured(guided, request, others, name, progress)
            except BaseException as error:  # an interrupt is not an Exception on every host
                progress.stopped(str(error) or "Stopped; nothing was saved.")
                raise
            if not name.strip():
                saved = _renamed(saved, store.free_name(saved.schedule.name, saved.digest))
            text = f"{saved.notes['report']}\n\n{_keep(store, saved)}"
            progress.done(saved.notes["summary"])
        else:
            text = f"Saved result taken, no model call made.\n\n{saved.notes.get('report', '')}"
            if name.strip() not in ("", saved.schedule.name):
                saved = _renamed(saved, name.strip())
                text += f"\n\n{_keep(store, saved)}"
            progress.done(f"Saved result taken: {saved.schedule.name}")
        plot = plot_schedules({saved.schedule.name: saved.schedule.sigmas, **others})
        return io.NodeOutput(
            host.attach(model, saved.schedule, denoise, judged.spare_level),
            saved.schedule.sigmas,
            text,
            ui=None if plot is None else ui.PreviewImage(plot, cls=cls),
        )


def _guider(model: Any, positive: Any, negative: Any, cfg: float) -> Any:
    """KSampler's guider for the linked prompts.

    Raises ValueError when a prompt is missing.
    """
    if positive is None or (negative is None and cfg != 1.0):
        missing = "positive" if positive is None else "negative"
        raise ValueError(
            f"Optimize AYS has no {missing} prompt: link 'positive' and 'negative', or link a "
            "guider (with cfg 1 'positive' alone is enough)."
        )
    if cfg != 1.0 and any("guidance" in options for _, options in positive):
        log.warning(
            "The prompt carries Flux guidance and cfg is %g: such models are made for cfg 1.", cfg
        )
    return host.make_guider(model, positive, positive if negative is None else negative, cfg)


def _others(
    levels: host.NoiseLevels, steps: int, denoise: float, spare_level: bool
) -> dict[str, torch.Tensor]:
    """What the user already has: the host's schedules and, where they fit, the published ones."""
    others = host.host_schedules(levels, steps, denoise, spare_level=spare_level)
    if levels.flow:
        return others
    start = host.start_level(levels, steps, denoise)
    total = steps if denoise >= 1.0 else int(steps / denoise)
    for name, table in published(levels, total).items():
        sigmas = torch.tensor(table[-(steps + 1) :])
        # The comparison needs one start; a published table may begin a little above or below it.
        if denoise < 1.0 or abs(float(sigmas[0]) / start - 1.0) < 0.1:
            sigmas[0] = start
        others[f"AYS {name}"] = sigmas
    return others


def _starts(
    levels: host.NoiseLevels, method: str, steps: int, denoise: float
) -> dict[str, Any]:
    """Where Algorithm 1 starts beside EDM's schedule: time-uniform, in EDM levels.

    The paper starts there on discrete-time models only, and always with 10 steps.
    """
    if denoise < 1.0 or (method == "paper" and levels.timesteps is None):
        return {}
    count = PAPER_STEPS if method == "paper" else steps
    return {"time-uniform": levels.coordinate.finite_edm(time_uniform(count, levels.table()))}


def _measured(
    guided: host.GuidedModel,
    request: dict[str, Any],
    others: dict[str, torch.Tensor],
    name: str,
    progress: host.Progress,
) -> SavedSchedule:
    """Run the optimisation that a request asks for."""
    steps, denoise = request["steps"], request["denoise"]
    levels, judged = guided.levels, guided.sampler
    method = METHODS[request["method"]]
    elements = guided.elements
    result = guided.fitted(
        lambda batch_size: optimize(
            guided,
            guided.shape,
            sigma_max=host.start_level(levels, steps, denoise),
            sigma_min=levels.sigma_min,
            steps=steps,
            solver=guided.solver(),
            samples=guided.latent.samples,
            elements=elements,
            candidates=others,
            budget=request["budget"],
            seed=request["seed"],
            progress=progress,
            method=method,
            starts=_starts(levels, method, steps, denoise),
            coordinate=levels.coordinate,
            reference=guided.reference(),
            order=judged.order,
            batch_size=batch_size,
            meter=guided.meter,
        )
    )
    cfg = "" if request["cfg"] is None else f" cfg {request['cfg']:g}"
    measured = Provenance(
        who="Optimize AYS",
        what=f"{judged.name}, {steps} steps{cfg}, denoise {denoise:g}, latent {request['shape']}: "
        f"{result.method}, on {result.noises} noises with {result.total_calls} calls",
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    name = name.strip() or f"{guided.model_name}{judged.name} {steps} steps{cfg}"
    return SavedSchedule(
        schedule=Schedule(
            tuple(result.sigmas.tolist()), name, measured, _other_steps(result, denoise)
        ),
        identity=request["identity"],
        request=request,
        tensors=result.profile.to_tensors(),
        notes={
            "report": report_text(result, judged, steps),
            "summary": comparison(result),
            "method": result.method,
            "error": result.error.mean,
            "calls": result.calls,
            "flow": levels.flow,
            "spare_level": judged.spare_level,
        },
    )


def _other_steps(result: Result, denoise: float) -> tuple[tuple[float, ...], ...]:
    """Levels for other numbers of steps, which take no calls; none for a part of the path."""
    if result.surrogate is None or denoise < 1.0:
        return ()
    counts = (count for count in OTHER_STEPS if count != len(result.sigmas) - 1)
    return tuple(tuple(result.at_steps(count).tolist()) for count in counts)


def _renamed(saved: SavedSchedule, name: str) -> SavedSchedule:
    """The same result under another name."""
    return dataclasses.replace(saved, schedule=dataclasses.replace(saved.schedule, name=name))


def _keep(store: Store, saved: SavedSchedule) -> str:
    """Save the result; a failure to save loses nothing but the file."""
    try:
        path = store.save(saved)
    except (OSError, ValueError) as error:
        log.error("The schedule was not saved: %s", error)
        return f"NOT SAVED: {error}"
    return f"Saved as '{saved.schedule.name}' in {path} (press R to see it in the lists)."
