"""The smallest pack that the host loads: what every pack costs."""

from comfy_api.latest import ComfyExtension, io


class Empty(ComfyExtension):
    """No nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """None."""
        return []


def comfy_entrypoint() -> Empty:
    """Hand it to the host."""
    return Empty()
