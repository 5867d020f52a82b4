"""A stand-in for packs that take scheduler names at import, and refuse to share them."""

from comfy.samplers import SCHEDULER_HANDLERS, SCHEDULER_NAMES, SchedulerHandler, simple_scheduler

NODE_CLASS_MAPPINGS: dict[str, type] = {}

for name in ("ays", "ays+", "ays_30", "ays_30+", "gits", "beta_1_1"):
    if name in SCHEDULER_HANDLERS:
        raise ValueError(f"The scheduler name {name!r} is already taken.")
    SCHEDULER_HANDLERS[name] = SchedulerHandler(simple_scheduler)
    SCHEDULER_NAMES.append(name)
