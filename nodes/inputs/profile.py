"""Profiles on a link: AYS_PROFILE, from "Merge AYS Profiles" to "Optimize AYS"."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...profiles import Conditions, MeasuredProfile
from .request import Request

__all__ = ["AYS_PROFILE", "fitting_profile"]

AYS_PROFILE = io.Custom("AYS_PROFILE")


def fitting_profile(given: Any, request: Request) -> MeasuredProfile:
    """Return what is linked, if it is a profile of what a request asks for.

    Raises ValueError, in a sentence, for anything else.
    """
    if not isinstance(given, MeasuredProfile):
        raise ValueError(
            "What is linked to 'profile' is not a profile: link the output of Merge AYS Profiles, "
            "or nothing."
        )
    if not given.conditions.is_identified:
        raise ValueError(
            f"The linked profile '{given.name}' is of a model that could not be identified, so "
            "nobody can tell whether it is this one: unlink it."
        )
    difference = given.conditions.difference(Conditions.of(request.as_json()))
    if difference is not None:
        raise ValueError(f"The linked profile '{given.name}' and this node {difference}.")
    return given
