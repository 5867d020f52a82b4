"""A script for the host's process: judge every sampler, by name and as a SAMPLER with options.

`host_judged.py PREDICTION WHICH` prints JSON with a row for each sampler. WHICH is `names` for
those of the drop-down; `objects` for SAMPLERs, those of the host's nodes and some that are not the
host's; or `all` for both, without the optimisation, and `warnings`: what the user is told of
(guider, steps), and `again`: the digests of the options of SAMPLERs made once more. A row is

    refused    why the sampler is refused, in one sentence; nothing else is given then
    name       what the sampler is called
    note       what the report says about it
    options    the digest of its options
    by_distribution   whether it can be judged by the distribution of its samples
    order, reference_order, calls_per_step, spare_level
    asked      network calls that finding these out took
    calls      of a run of STEPS steps, counted by the meter
    errors     distances of runs of STEPS_OF_ORDER steps to the end of the finest
    sigmas     that an optimisation of STEPS steps has found, with its `report` and the `rows` that
               were computed
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

STEPS, BUDGET = 4, 300


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    import_module("utils.install_util")  # before a module of the host hides `utils`
    import torch
    from align_your_steps.tests.host.judging import Judging

    prediction, which = sys.argv[1:]
    with torch.inference_mode():
        answer = Judging(prediction, STEPS, BUDGET).answer(which)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
