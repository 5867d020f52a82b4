"""A script for the host's process: what Compare Schedules measures, beside the host's own sampling.

It prints JSON:

    brute    name -> [error of each noise], by the host's sampling alone
    ours     the same, as measured
    ranking  names as we rank them
    same     kind of latent and number of noises -> name -> the largest difference between the end
             point of the first noise and the host's own image from the seed
    pictures kind of VAE -> [shape, mean] of its picture, or what is said of its failure
    decoded  shape of what a VAE is given of audio and video
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from typing import Any

from align_your_steps.tests.host.in_host import fine_levels, prompt

STEPS, CFG, SEED, NOISES = 6, 2.0, 11, 5
NAMES = ("simple", "normal", "karras", "beta")
KINDS = {
    "image": [[2, 1, 8, 8]],
    "four channels": [[1, 4, 8, 8]],
    "video": [[1, 3, 5, 4, 4]],
    "audio and video": [[1, 2, 3, 4, 4], [1, 5, 6]],
}


class Vae:
    """Something that decodes latents, or fails."""

    def __init__(self, pictures: Any) -> None:
        self.pictures = pictures
        self.latents: list[Any] = []

    def decode(self, latent: Any) -> Any:
        """Pictures for a latent."""
        self.latents.append(latent)
        if isinstance(self.pictures, BaseException):
            raise self.pictures
        return self.pictures(latent)


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.model_management
    import comfy.sample
    import comfy.samplers
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.nodes.inputs.guidance import guided_model
    from align_your_steps.nodes.inputs.schedule_list import Entry
    from align_your_steps.nodes.inputs.ways import Setting, named_schedules, ways_of
    from align_your_steps.nodes.results.comparison import compared
    from align_your_steps.optimizer.diffusion.noise import SELECTION, generators, unit_noise
    from align_your_steps.tests.host.test_pack import latents
    from align_your_steps.tests.host.test_pack.model import build

    positive, negative = prompt(3), prompt(-1)
    judged = host.judged_sampler("dpmpp_2m", twin_alone=True)

    def measured(kind: str, noises: int) -> tuple[Any, Any, Any, Any]:
        model = build("gaussian mixture", "eps", 7, 1.0, **latents.KINDS[kind])
        latent = latents.latent(KINDS[kind], 0)
        guided = guided_model(
            host.make_guider(model, positive, negative, CFG), judged, latent, STEPS, 1.0
        )
        entries = [Entry(name, name) for name in NAMES]
        start = guided.levels.sigma_max
        setting = Setting(model, guided.levels, 1.0, CFG, start)
        named = named_schedules(entries, setting, ways_of(entries, guided, STEPS))
        first = host.first_noise(model, latent, SEED)
        found = compared(guided, named.schedules, start, noises, SEED, first)
        return model, latent, guided, found

    def of_host(model: Any, noise: Any, start: Any, name: str) -> Any:
        return comfy.sample.sample(
            model, noise, STEPS, CFG, "dpmpp_2m", name, positive, negative, start, seed=SEED,
            disable_pbar=True,
        )  # fmt: skip

    answer: dict[str, Any] = {"same": {}, "pictures": {}}
    model, latent, guided, found = measured("image", NOISES)
    noise = unit_noise(generators(SEED, SELECTION, range(NOISES)), guided.shape)
    noise[0] = comfy.sample.prepare_noise(latent["samples"], SEED)[0]
    start = torch.zeros_like(noise)
    sampler = comfy.samplers.sampler_object("dpmpp_2m")
    fine = comfy.sample.sample_custom(
        model, noise, CFG, sampler, fine_levels(guided.levels, 400), positive, negative, start,
        disable_pbar=True,
    )  # fmt: skip

    def errors(name: str) -> list[float]:
        ends = of_host(model, noise, start, name)
        distances: list[float] = (ends - fine).square().flatten(1).mean(1).sqrt().tolist()
        return distances

    answer["brute"] = {name: errors(name) for name in NAMES}
    answer["ours"] = {score.candidate.name: score.errors for score in found.scores}
    answer["ranking"] = [score.candidate.name for score in found.scores]

    nested = importlib.util.find_spec("comfy.nested_tensor") is not None
    for kind in KINDS:
        if kind == "audio and video" and not nested:
            continue
        for noises in (1, 4):
            model, latent, guided, found = measured(kind, noises)
            start = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
            noise = comfy.sample.prepare_noise(start, SEED)

            def off(
                name: str, model: Any, guided: Any, found: Any, noise: Any, start: Any
            ) -> float:
                theirs = _parts(of_host(model, noise, start, name))
                ours = _parts(guided.released(found.first_ends[name][None]))
                pairs = zip(ours, theirs, strict=True)
                return max(float((one - other[:1]).abs().max()) for one, other in pairs)

            answer["same"][f"{kind}, {noises}"] = {
                name: off(name, model, guided, found, noise, start) for name in NAMES
            }

    frames = torch.arange(5.0).reshape(1, 5, 1, 1, 1).expand(1, 5, 6, 4, 3)
    vaes = {
        "image": Vae(lambda latent: torch.zeros(1, 8, 6, 3)),
        "transparent": Vae(lambda latent: torch.zeros(1, 8, 6, 4)),
        "video": Vae(lambda latent: frames),
        "out of memory": Vae(comfy.model_management.OOM_EXCEPTION("no memory left")),
        "another model's": Vae(RuntimeError("expected 4 channels")),
        "cancelled": Vae(comfy.model_management.InterruptProcessingException()),
    }
    for name, vae in vaes.items():
        try:
            picture = host.decoded(vae, guided, found.first_reference)
            answer["pictures"][name] = [list(picture.shape), float(picture.mean())]
        except ValueError as error:
            answer["pictures"][name] = str(error)
        except comfy.model_management.InterruptProcessingException:
            answer["pictures"][name] = "cancelled"
    answer["decoded"] = list(vaes["image"].latents[0].shape)
    print(json.dumps(answer))


def _parts(latent: Any) -> list[Any]:
    return list(latent.unbind()) if getattr(latent, "is_nested", False) else [latent]


if __name__ == "__main__":
    main()
