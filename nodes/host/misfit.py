"""Words for a model that does not take what is linked, in place of what its network says."""

from __future__ import annotations

__all__ = ["ERRORS", "misfit"]

# Of a network that is given something else than it was made for. An interrupt is none of these.
ERRORS = (RuntimeError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError)
LONGEST_SAYING = 100  # characters of what the network says


def misfit(error: Exception, sizes: object) -> ValueError:
    """The error for a model whose very first call failed.

    sizes: of the linked latent
    """
    said = " ".join(str(error).split()) or type(error).__name__
    said = said if len(said) <= LONGEST_SAYING else f"{said[:LONGEST_SAYING]}…"
    return ValueError(
        f"The model does not run with what is linked, a latent of {sizes} and these prompts: try "
        "the same links in KSampler, and link a latent, prompts, a guider and a sampler that are "
        f"made for this model. (It says: {said})."
    )
