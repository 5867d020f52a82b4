"""Runs of the GPU figures in a real ComfyUI, on checkpoints with random weights.

The server's test pack writes a checkpoint of the case's size in bf16 into the server's own folder,
and the host's loader of diffusion models takes it for the family's own. Prompts and empty latents
are as a user's, but for the text encoder: the tokens are random.
"""

from __future__ import annotations

import time
from typing import Any

from ..tests.host.families import node
from ..tests.host.server import ComfyServer, Graph
from .gpu_cases import CFG, SAMPLER, STEPS, TOKENS, Case, Taken

__all__ = ["BF16", "Host", "device_of", "optimise_graph", "sample_graph"]

BF16 = "--bf16-unet"  # or the host computes in fp16 where the GPU can
FEW, MANY = 5, 25  # steps of the bare prompts
SETTLED = 30  # calls after which the largest so far is as large as any
SEED, OTHER_SEED = 0, 1
PATIENCE = 3600.0  # seconds for a checkpoint


def model_graph(case: Case, latents: int) -> Graph:
    """The model from its file, two prompts and an empty latent."""
    prompt = {"tokens": TOKENS, "width": case.width, "pooled": case.pooled, "masked": False}
    side = 8 * case.side
    return {
        "model": node("UNETLoader", unet_name=f"{case.family}.safetensors", weight_dtype="default"),
        "positive": node("AYSTestEmbedding", seed=1, **prompt),
        "negative": node("AYSTestEmbedding", seed=2, **prompt),
        "latent": node("EmptyLatentImage", width=side, height=side, batch_size=latents),
    }


def optimise_graph(case: Case, budget: int, seed: int) -> Graph:
    """Optimize AYS, measuring every time."""
    return {
        **model_graph(case, latents=1),
        "optimize": node(
            "AYSOptimize",
            **_links(),
            sampler_name=SAMPLER,
            steps=STEPS,
            budget=budget,
            minutes=0.0,
            seed=seed,
            method="measured",
            reuse="measure again",
            name="gpu",
        ),
        "report": node("AYSTestShowText", text=["optimize", 2]),
    }


def sample_graph(case: Case, latents: int, sampler: str, steps: int, seed: int) -> Graph:
    """KSampler; with another seed than the last time, or the host would not run it again."""
    return {
        **model_graph(case, latents),
        "sample": node(
            "KSampler",
            **_links(),
            sampler_name=sampler,
            scheduler="sgm_uniform",
            steps=steps,
            seed=seed,
        ),
        "save": node("SaveLatent", samples=["sample", 0], filename_prefix="gpu"),
    }


def _links() -> dict[str, Any]:
    """The inputs that Optimize AYS and KSampler have in common."""
    links = {name: [name, 0] for name in ("model", "positive", "negative")}
    return {**links, "latent_image": ["latent", 0], "cfg": CFG, "denoise": 1.0}


def device_of(server: ComfyServer) -> str | None:
    """The name of the server's GPU; None if it has none."""
    name: str | None = server.get("/ays_test/memory")["device"]
    return name


class Host:
    """A running server that has the case's checkpoint: a `Stand`.

    poll:  seconds between questions whether a prompt has ended: answers take the server's time
    dtype: in which the host computes
    """

    def __init__(self, case: Case, server: ComfyServer, budget: int, poll: float = 1.0) -> None:
        self.case, self.server, self.budget, self.poll = case, server, budget, poll
        self.seed = 0
        file = {"family": case.family, "file": case.family, "runs": True, "dtype": "bfloat16"}
        server.run({"checkpoint": node("AYSTestCheckpoint", **file)}, timeout=PATIENCE)
        shown = {
            "model": model_graph(case, 1)["model"],
            "kind": node("AYSTestShowModel", model=["model", 0]),
        }
        known = server.run(shown, timeout=PATIENCE)["outputs"]["kind"]
        if known["kind"] != [case.kind, "EPS"]:
            raise RuntimeError(f"The host took the checkpoint of {case.name} for {known['kind']}.")
        (self.dtype,) = known["dtype"]

    def plain(self, latents: int) -> Taken:
        """A prompt of KSampler."""
        return self._sampled(latents, SAMPLER, STEPS)

    def rows_a_call(self) -> int:
        """Those of the largest among the first calls of an optimisation, which is cancelled.

        With another seed, so that the one that is measured does not go on from it.
        """
        self.server.get("/ays_test/reset")
        prompt = self.server.queue(optimise_graph(self.case, self.budget, OTHER_SEED))

        def seen() -> bool:
            ended = bool(self.server.get(f"/history/{prompt}"))
            return ended or self.server.get("/ays_test/calls")["calls"] >= SETTLED

        self.server.until(seen, timeout=PATIENCE)
        self.server.interrupt()
        self.server.wait(prompt, timeout=PATIENCE)
        most: int = self.server.get("/ays_test/largest")["rows"]
        return most // 2  # both prompts are in one call

    def bare(self, latents: int) -> Taken:
        """The difference of two prompts: what a prompt costs once is not in it.

        With Euler's method, which adds next to nothing to its calls.
        """
        few, many = (self._sampled(latents, "euler", steps) for steps in (FEW, MANY))
        return Taken(many.calls - few.calls, many.rows - few.rows, many.seconds - few.seconds)

    def optimise(self) -> Taken:
        """The whole prompt: identity of the model, plot and saving are in it."""
        return self._taken(optimise_graph(self.case, self.budget, SEED))

    def _sampled(self, latents: int, sampler: str, steps: int) -> Taken:
        """Raises RuntimeError where the host has made a step in several calls."""
        self.seed += 1
        taken = self._taken(sample_graph(self.case, latents, sampler, steps, self.seed))
        if taken.calls != steps:
            raise RuntimeError(
                f"ComfyUI made {taken.calls} calls in {steps} steps at a batch of {latents} of "
                f"{self.case.name}: the GPU has too little memory for these figures. Close what "
                "else uses it, or take --cases SD1.5."
            )
        return taken

    def _taken(self, graph: Graph) -> Taken:
        self.server.get("/ays_test/reset")
        prompt = self.server.queue(graph)
        while not self.server.get(f"/history/{prompt}"):
            time.sleep(self.poll)
        messages = dict(self.server.wait(prompt)["status"]["messages"])
        if "execution_success" not in messages:
            raise RuntimeError(f"The prompt failed: {messages}")
        begun, ended = (messages[f"execution_{k}"]["timestamp"] for k in ("start", "success"))
        calls, memory = (self.server.get(f"/ays_test/{what}") for what in ("calls", "memory"))
        return Taken(
            calls["calls"],
            calls["rows"] // 2,
            (ended - begun) / 1000.0,
            memory["allocated"],
            memory["reserved"],
        )
