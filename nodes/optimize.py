"""The node "Optimize AYS": measures the loaded model and finds the best schedule for it."""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Iterable
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..optimizer import Result, optimize
from ..schedules import Provenance, SavedSchedule, Schedule, Store, Unfinished
from ..schedules.curves import time_uniform
from . import host
from .choose import published
from .plot import plot_schedules
from .report import comparison, report_text, snapped
from .schema import supported

__all__ = ["AYSOptimize"]

METHODS = {"measured": "measured", "paper (KLUB)": "paper"}
REUSE = ("saved if equal", "measure again")
PAPER_STEPS = 10
OTHER_MODEL = (
    "The guider's model was measured. The one linked to 'model' is another: the schedule is "
    "attached to it, but was not made for it."
)
OTHER_STEPS = (4, 5, 6, 8, 10, 12, 15, 20, 25, 30)  # saved with every result
MOST_STEPS = 1000

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
                    max=MOST_STEPS,
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
                    "only. Encoded images are used as example data. With denoise below 1, or with "
                    "a noise mask: the image to start from.",
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
                io.Model.Output(
                    display_name="second_model",
                    tooltip="The second model with the same schedule attached; without one, the "
                    "first output again.",
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
        more_steps: str = "",
        second_model: Any = None,
        second_guider: Any = None,
        boundary_step: int = 0,
    ) -> io.NodeOutput:
        """Measure, or take the saved results; attach the schedule, and report."""
        # A workflow may write 7 where the widget writes 7.0: they are the same request.
        cfg, denoise = float(cfg), float(denoise)
        counts = [steps, *_more(more_steps, steps)]
        scale: float | None = cfg
        if guider is None:
            guider = _guider(model, positive, negative, cfg)
        else:
            scale = getattr(guider, "cfg", None)
        if second_guider is None and second_model is not None:
            second_guider = host.with_model(guider, second_model)
        measured_model = host.model_of(guider)
        host.refuse_frames(measured_model)
        judged = host.judged_sampler(sampler_name, sampler)
        guided = _guided(guider, second_guider, judged, latent_image, steps, denoise, boundary_step)
        request = {
            **_models(guider, second_guider, guided),
            "cfg": scale,
            "sampler": judged.name,
            "sampler_options": judged.options,
            "steps": steps,
            "shape": guided.latent.sizes,
            "latent": guided.latent.digest,
            "denoise": denoise,
            "method": method,
            "budget": budget,
            "seed": seed,
        }
        found = []
        for part, count in enumerate(counts):
            progress = host.Progress(
                cls.hidden.unique_id, budget, (part, len(counts)), f"{count} steps"
            )
            own_name = name.strip()
            if own_name and count != steps:
                own_name += f", {count} steps"
            wanted = {**request, "steps": count}
            warning = host.distilled_warning(guider, count)
            found.append(_found(guided, wanted, own_name, reuse == REUSE[0], progress, warning))
        saved, text = _joined(found)
        others = _others(guided.levels, steps, denoise, judged.spare_level)
        if _other_model(model, measured_model, saved.identity):
            text = f"{OTHER_MODEL}\n\n{text}"
            log.warning(OTHER_MODEL)
        plot = plot_schedules({saved.schedule.name: saved.schedule.sigmas, **others})
        # The report is in the history too, for clients that link nothing to its output.
        shown: dict[str, Any] = {"text": [text]}
        if plot is not None:
            shown |= ui.PreviewImage(plot, cls=cls).as_dict()
        measured = host.Measured(
            denoise, judged.spare_level, guided.levels.sigma_min, request.get("boundary")
        )
        attached = host.attach(model, saved.schedule, measured)
        second = attached
        if second_guider is not None:
            second = host.attach(second_guider.model_patcher, saved.schedule, measured)
        return io.NodeOutput(attached, saved.schedule.sigmas, text, second, ui=shown)


def _more(text: str, steps: int) -> list[int]:
    """The numbers of steps in a text, each once, without those that are optimised anyway.

    Raises ValueError for anything but whole numbers from 1 to 1000.

    >>> _more("5, 8 20, 8", 20)
    [5, 8]
    """
    words = text.replace(",", " ").replace(";", " ").split()
    counts = [int(word) if word.isascii() and word.isdigit() else 0 for word in words]
    if not all(1 <= count <= MOST_STEPS for count in counts):
        raise ValueError(
            f"more_steps was '{text}': give whole numbers of steps from 1 to {MOST_STEPS}, "
            "separated by commas, for example '5, 8, 20', or leave it empty."
        )
    return [count for count in dict.fromkeys(counts) if count != steps]


def _guided(
    guider: Any,
    second: Any,
    judged: host.JudgedSampler,
    latent_image: dict[str, Any],
    steps: int,
    denoise: float,
    boundary_step: int,
) -> host.GuidedModel:
    """The guided model, or the pair with a second one, that is measured."""
    model = host.model_of(guider)
    latent = host.latent_use(model, latent_image, denoise)
    levels = host.noise_levels(model)
    if second is None:
        return host.GuidedModel(guider, levels, latent, judged)
    boundary = host.boundary_level(levels, steps, denoise, boundary_step)
    levels = host.pair_levels(levels, host.model_of(second), boundary)
    return host.GuidedPair(guider, second, boundary, levels, latent, judged)


def _models(guider: Any, second: Any, guided: host.GuidedModel) -> dict[str, Any]:
    """What a request says about the models and their guidance."""
    identity = host.model_identity(guider.model_patcher)
    request: dict[str, Any] = {"identity": identity, "guidance": host.guidance_digest(guider)}
    if isinstance(guided, host.GuidedPair):
        request["second identity"] = host.model_identity(second.model_patcher)
        request["second guidance"] = host.guidance_digest(second)
        request["boundary"] = guided.boundary
        if request["second identity"] is None:  # such a pair is never found again
            request["identity"] = None
    return request


def _found(
    guided: host.GuidedModel,
    request: dict[str, Any],
    name: str,
    reuse: bool,
    progress: host.Progress,
    warning: str | None,
) -> tuple[SavedSchedule, str]:
    """The result of a request, saved before or measured and saved now, and its report."""
    if warning:
        log.warning(warning)
    store = host.store()
    saved = store.find(request) if reuse else None
    if saved is None:
        judged = guided.sampler
        steps, denoise = request["steps"], request["denoise"]
        others = _others(guided.levels, steps, denoise, judged.spare_level)
        unfinished = _unfinished(request, afresh=not reuse)
        try:
            saved = _measured(guided, request, others, name, progress, unfinished, warning)
        except BaseException as error:  # an interrupt is not an Exception on every host
            again = "; queue the same again to continue" if unfinished is not None else ""
            progress.stopped(str(error) or f"Stopped{again}.")
            raise
        if not name:
            saved = _renamed(saved, store.free_name(saved.schedule.name, saved.digest))
        progress.done(saved.notes["summary"])
        text = f"{saved.notes['report']}\n\n{_keep(store, saved, unfinished)}"
        if progress.continued:
            text += f"\n\nContinued: {progress.continued} calls had been made before."
        return saved, text
    text = f"Saved result taken, no model call made.\n\n{saved.notes.get('report', '')}"
    if name not in ("", saved.schedule.name):
        saved = _renamed(saved, name)
        text += f"\n\n{_keep(store, saved, None)}"
    progress.done(f"Saved result taken: {saved.schedule.name}")
    return saved, text


def _joined(found: list[tuple[SavedSchedule, str]]) -> tuple[SavedSchedule, str]:
    """The first result, with the levels of the others for their numbers of steps, and all reports.

    These take the place of levels derived for the same numbers.
    """
    (saved, text), *more = found
    if not more:
        return saved, text
    optimised = {result.schedule.steps: result.schedule.levels for result, _ in more}
    derived = {len(levels) - 1: levels for levels in saved.schedule.others}
    others = tuple({**derived, **optimised}.values())
    if others != saved.schedule.others:
        schedule = dataclasses.replace(saved.schedule, others=others)
        saved = dataclasses.replace(saved, schedule=schedule)
        kept = _keep(host.store(), saved, None)
        text += f"\n\nWith the levels for {_listed(optimised)} steps. {kept}"
    return saved, "\n\n".join([text, *(report for _, report in more)])


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _guider(model: Any, positive: Any, negative: Any, cfg: float) -> Any:
    """KSampler's guider for the linked prompts.

    Raises ValueError when a prompt is missing.
    """
    # Some nodes, such as SelfAttentionGuidance, need the negative prompt at cfg 1 too.
    guided = cfg != 1.0 or model.model_options.get("disable_cfg1_optimization", False)
    if positive is None or (negative is None and guided):
        missing = "positive" if positive is None else "negative"
        raise ValueError(
            f"Optimize AYS has no {missing} prompt: link 'positive' and 'negative', or link a "
            "guider (with cfg 1 'positive' alone is enough, unless a node needs both then too)."
        )
    if cfg != 1.0 and any("guidance" in options for _, options in positive):
        log.warning(
            "The prompt carries Flux guidance and cfg is %g: such models are made for cfg 1.", cfg
        )
    return host.make_guider(model, positive, positive if negative is None else negative, cfg)


def _other_model(model: Any, measured: Any, identity: str | None) -> bool:
    """Whether the linked MODEL is known to be another than the one that was measured."""
    if model is measured:
        return False
    linked = host.model_identity(model)
    unknown = linked is None or identity is None
    return model.model is not measured.model if unknown else linked != identity


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


def _unfinished(request: dict[str, Any], *, afresh: bool) -> Unfinished | None:
    """What was measured for this request before it was interrupted, and where to keep more.

    None where nobody could tell that a request is the same, and to begin afresh, which deletes it.
    """
    if not host.is_comparable(request):
        return None
    unfinished = Unfinished(host.unfinished_folder(), request)
    if afresh:
        unfinished.discard()
        return None
    return unfinished


def _measured(
    guided: host.GuidedModel,
    request: dict[str, Any],
    others: dict[str, torch.Tensor],
    name: str,
    progress: host.Progress,
    unfinished: Unfinished | None,
    warning: str | None,
) -> SavedSchedule:
    """Run the optimisation that a request asks for."""
    steps, denoise = request["steps"], request["denoise"]
    levels, judged = guided.levels, guided.sampler
    method = METHODS[request["method"]]
    elements = guided.elements
    result = guided.fitted(
        lambda batch_size, made: optimize(
            guided,
            guided.shape,
            sigma_max=host.start_level(levels, steps, denoise),
            sigma_min=levels.sigma_min,
            steps=steps,
            solver=guided.solver(),
            samples=guided.latent.samples,
            elements=elements,
            candidates=others,
            budget=request["budget"] - made,
            seed=request["seed"],
            progress=progress,
            method=method,
            starts=_starts(levels, method, steps, denoise),
            coordinate=levels.coordinate,
            reference=guided.reference(),
            order=judged.order,
            batch_size=batch_size,
            meter=guided.meter,
            journal=unfinished,
        )
    )
    cfg = "" if request["cfg"] is None else f" cfg {request['cfg']:g}"
    boundary = request.get("boundary")
    second = "" if boundary is None else f", a second model from noise level {boundary:.4g} on"
    measured = Provenance(
        who="Optimize AYS",
        what=f"{judged.name}, {steps} steps{cfg}, denoise {denoise:g}, latent {request['shape']}"
        f"{second}: {result.method}, on {result.noises} noises with {result.total_calls} calls"
        + (f"; {snapped(result)}" if snapped(result) else ""),
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    name = name or f"{guided.model_name}{judged.name} {steps} steps{cfg}"
    report = report_text(result, judged, steps, boundary, warning)
    if guided.note:
        report += f"\n\nNote: {guided.note}"
    return SavedSchedule(
        schedule=Schedule(
            tuple(result.sigmas.tolist()), name, measured, _other_steps(result, denoise)
        ),
        identity=request["identity"],
        request=request,
        tensors=result.profile.to_tensors(),
        notes={
            "report": report,
            "summary": comparison(result),
            "method": result.method,
            "error": result.error.mean,
            "calls": result.calls,
            "flow": levels.flow,
            "spare_level": judged.spare_level,
            "sigma_min": levels.sigma_min,
            "boundary": boundary,
        },
    )


def _other_steps(result: Result, denoise: float) -> tuple[tuple[float, ...], ...]:
    """Levels for other numbers of steps, which take no calls; none for a part of the path."""
    if result.surrogate is None or denoise < 1.0:
        return ()
    known = result.coordinate.table
    counts = [
        count
        for count in OTHER_STEPS
        if count != len(result.sigmas) - 1 and (known is None or count <= len(known))
    ]
    return tuple(tuple(levels.tolist()) for levels in result.at_step_counts(counts))


def _renamed(saved: SavedSchedule, name: str) -> SavedSchedule:
    """The same result under another name."""
    return dataclasses.replace(saved, schedule=dataclasses.replace(saved.schedule, name=name))


def _keep(store: Store, saved: SavedSchedule, unfinished: Unfinished | None) -> str:
    """Save the result and drop what it was made from; a failure loses nothing but the file."""
    try:
        path = store.save(saved)
        if unfinished is not None:
            unfinished.discard()
    except (OSError, ValueError) as error:
        log.error("The schedule was not saved: %s", error)
        return f"NOT SAVED: {error}"
    return f"Saved as '{saved.schedule.name}' in {path} (press R to see it in the lists)."
