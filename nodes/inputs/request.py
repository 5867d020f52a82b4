"""Request for an optimisation, and all that makes two of its results the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...schedules.store import digest_of
from .. import host
from .guidance import guidance_scale

__all__ = ["ENDED_EARLY", "Request"]

ENDED_EARLY = "ended early"  # the key of results that did, in their requests and their notes


@dataclass(frozen=True)
class Request:
    """Everything that makes two results the same.

    identity:        digest of the model; None if it, or the second one, could not be identified
    guidance:        digest of its guider: settings, prompts, further models
    cfg:             the guidance scale; None for a guider that has no single one
    sampler:         name of the sampler
    sampler_options: digest of a linked sampler
    steps:           number of steps
    shape:           sizes of the latent
    latent:          digest of the start image, the example images and the mask
    denoise:         as in KSampler
    method:          as in the node's list
    budget:          denoiser calls
    seed:            of the noise
    second_identity, second_guidance, boundary: of a second model, and the level from which on it
        answers; None without one
    profile:         digest of the linked profile; None: it is measured
    ended_early:     whether the result is one of a measurement that ended early
    """

    identity: str | None
    guidance: str
    cfg: float | None
    sampler: str
    sampler_options: str
    steps: int
    shape: list[Any]
    latent: str
    denoise: float
    method: str
    budget: int
    seed: int
    second_identity: str | None = None
    second_guidance: str | None = None
    boundary: float | None = None
    profile: str | None = None
    ended_early: bool = False

    @classmethod
    def of(
        cls,
        guided: host.GuidedModel,
        *,
        steps: int,
        denoise: float,
        method: str,
        budget: int,
        seed: int,
    ) -> Request:
        """The request for a guided model."""
        request = cls(
            identity=host.model_identity(guided.given.model_patcher),
            guidance=host.guidance_digest(guided.given),
            cfg=guidance_scale(guided.given),
            sampler=guided.sampler.name,
            sampler_options=guided.sampler.options,
            steps=steps,
            shape=guided.latent.sizes,
            latent=guided.latent.digest,
            denoise=denoise,
            method=method,
            budget=budget,
            seed=seed,
        )
        if not isinstance(guided, host.GuidedPair):
            return request
        second = guided.second.given
        identity = host.model_identity(second.model_patcher)
        return replace(
            request,
            # A pair of which one cannot be identified is never found again.
            identity=None if identity is None else request.identity,
            second_identity=identity,
            second_guidance=host.guidance_digest(second),
            boundary=guided.boundary,
        )

    @property
    def is_comparable(self) -> bool:
        """True if a later request can be the same as this one: all in it could be described."""
        digests = self.guidance, self.second_guidance, self.sampler_options
        return self.identity is not None and all(map(host.is_comparable, filter(None, digests)))

    @property
    def digest(self) -> str:
        """The digest by which results and unfinished work are found."""
        return digest_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The request as results keep it (JSON types); what does not apply is absent."""
        content: dict[str, Any] = {"identity": self.identity, "guidance": self.guidance}
        if self.boundary is not None:
            content["second identity"] = self.second_identity
            content["second guidance"] = self.second_guidance
            content["boundary"] = self.boundary
        content |= {
            "cfg": self.cfg,
            "sampler": self.sampler,
            "sampler_options": self.sampler_options,
            "steps": self.steps,
            "shape": self.shape,
            "latent": self.latent,
            "denoise": self.denoise,
            "method": self.method,
            "budget": self.budget,
            "seed": self.seed,
        }
        # Results that are older than these two have neither.
        if self.profile is not None:
            content["profile"] = self.profile
        if self.ended_early:
            content[ENDED_EARLY] = True
        return content
