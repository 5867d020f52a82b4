"""A node pack for the tests: models whose ideal denoiser is known, and nodes that look inside."""

from comfy_api.latest import ComfyExtension, io

from . import listening, routes
from .broken import AYSTestAnything, AYSTestBroken
from .checkpoints import AYSTestCheckpoint, AYSTestEmbedding, prepare_host
from .guidance import AYSTestGuider
from .inspection import (
    AYSTestRecord,
    AYSTestShowModel,
    AYSTestShowSigmas,
    AYSTestShowText,
    AYSTestSigmas,
)
from .latents import (
    AYSTestLatent,
    AYSTestLatentModel,
    AYSTestShowLatent,
)
from .listening import AYSTestTrespass
from .model import AYSTestCLIP, AYSTestConditioning, AYSTestModel, AYSTestPatch
from .narrow import AYSTestNarrow
from .vae import AYSTestDigitsVAE, AYSTestEmojiVAE


class TestExtension(ComfyExtension):
    """The nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the node classes."""
        return [
            AYSTestAnything,
            AYSTestBroken,
            AYSTestCheckpoint,
            AYSTestCLIP,
            AYSTestConditioning,
            AYSTestDigitsVAE,
            AYSTestEmbedding,
            AYSTestEmojiVAE,
            AYSTestGuider,
            AYSTestLatent,
            AYSTestLatentModel,
            AYSTestModel,
            AYSTestNarrow,
            AYSTestPatch,
            AYSTestRecord,
            AYSTestShowLatent,
            AYSTestShowModel,
            AYSTestShowSigmas,
            AYSTestShowText,
            AYSTestSigmas,
            AYSTestTrespass,
        ]


async def comfy_entrypoint() -> TestExtension:
    """Add the routes and hand the nodes to the host."""
    routes.add()
    listening.add()
    prepare_host()
    return TestExtension()
