"""A script for the host's process: what the optimiser runs, beside what the host's nodes run.

It prints JSON:

    runs      case -> whether a run of the optimiser is the host's own, bit for bit
    walked    whether what the profile sees of a masked model is what a sampler sees
    free      case -> [elements that the mask leaves to the model, all elements]
    batches   free memory on a device, in rows of the model beside its weights -> the batch chosen
    digests   of a latent with a mask, again, with its last row changed, without, of another
              image
    beside    the same with another model in the memory, which the host would unload
    tried     batch sizes that were tried on a device with memory for so many rows, None at an end
              without a result; and what happens to an interrupt
"""

from __future__ import annotations

import importlib
import json

FREE_ROWS = (0.5, 1.0, 3.0, 4.0, 15.9, 16.0, 1000.0)
SMALL_DEVICES = (16, 5, 1, 0)


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import torch
    from align_your_steps.tests.host.latent_runs import answer

    with torch.inference_mode():
        print(json.dumps(answer()))


if __name__ == "__main__":
    main()
