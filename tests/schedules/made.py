"""A result with calibrated samplers, as files of version 2 hold it."""

from __future__ import annotations

from align_your_steps.schedules import CalibratedSampler, Provenance, SavedSchedule, Schedule

__all__ = ["with_samplers"]


def with_samplers() -> SavedSchedule:
    """A result with calibrated samplers for two numbers of steps, in numbers that are not round."""
    levels = (14.614641189575195, 5.1, 1.7, 0.6, 0.1 + 0.2, 0.0)
    three = ((1.0,), (1.4183, -0.4183), (1.7, -0.9, 0.2))
    rows = (*three, (1.0 / 3.0, 1.0, -1.0 / 3.0), (1.1, -0.2, 0.0999))
    request = {"identity": "a model", "sampler": "ays_model", "steps": 5, "cfg": 7.0, "seed": 1}
    fitted = (
        CalibratedSampler(levels, tuple(level * 1.01 for level in levels[:-1]), rows),
        CalibratedSampler((14.6, 2.0 / 3.0, 0.1, 0.0), (14.6, 0.7, 0.11), three),
    )
    plain = Schedule(
        (14.6, 4.0, 1.2, 0.4, 0.029, 0.0),
        "calibrated",
        Provenance("Optimize AYS", "by hand", "2026-12-01"),
        ((14.6, 1.0, 0.1, 0.0),),
    )
    notes = {"error": 0.05, "error interval": [0.04, 0.06], "flow": False, "report": "a report"}
    return SavedSchedule(plain, "a model", request, {}, notes, fitted)
