"""A script for the host's process: identities of models that its own loaders and nodes make.

It prints JSON. With the argument "all":

    models    what was done to a model -> its identity; those of SAME must be one
    guidance  what was done to a guider -> its digest; those of SAME_GUIDANCE must be one
    elements  elements read of the largest weight

With the argument "again" only the models of AGAIN: another process makes the same files anew.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

SAME = (
    "loaded", "loaded again", "cloned", "after sampling", "after sampling with a LoRA",
    "while a LoRA is loaded", "with our schedule", "with our wrapper", "in another memory format",
)  # fmt: skip
SAME_GUIDANCE = ("prompt", "prompt again", "after sampling")
AGAIN = ("loaded", "LoRA 0.5", "FreeU 1.1", "merged 0.3", "wrapper 1")


def main() -> None:
    """Make the models and print their identities."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.tests.host.identity_guidance import guiders
    from align_your_steps.tests.host.identity_models import models, write_files

    write_files()
    making, guiding = models(), guiders()
    if sys.argv[1] == "again":
        making, guiding = {name: making[name] for name in AGAIN}, {}
    with torch.inference_mode():
        answer: dict[str, Any] = {
            "models": {name: host.model_identity(make()) for name, make in making.items()},
            "guidance": {name: host.guidance_digest(make()) for name, make in guiding.items()},
            "elements": elements_read(),
        }
    print(json.dumps(answer))


def elements_read() -> int:
    """Count the elements that the identity of a model reads of its largest weight."""
    from align_your_steps.nodes import host
    from align_your_steps.nodes.host import digests
    from align_your_steps.tests.host.identity_models import load

    reads = []
    read = digests.tensor_bytes

    def counted(tensor: Any, sampled: bool) -> bytes:
        found = read(tensor, sampled)
        reads.append((tensor.numel(), len(found) // tensor.element_size()))
        return found

    digests.tensor_bytes = counted
    host.model_identity(load())
    return max(reads)[1]


if __name__ == "__main__":
    main()
