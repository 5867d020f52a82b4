"""Files that a MODEL was loaded from, as far as the graph that runs says it.

A MODEL does not know its files. The graph does: the nodes through which the model came, from its
loader to ours. Every one of them is known to hand on one model, or the merge of two; where that is
not sure, nothing is said. A node of another pack on the way may have done anything to the model:
it is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import folder_paths

import nodes

from ...schedules.store import one_line

__all__ = ["loaded_from"]

LINKS = ("MODEL", "GUIDER")  # types of the links that are followed
LORAS = ("LoraLoader", "LoraLoaderModelOnly")
MERGES = "comfy_extras.nodes_model_merging"
CORE = re.compile(r"nodes$|comfy_extras\.")  # modules of the host's own nodes
OUR_PACKAGE = __name__.removesuffix(".host.model_files")
# The inputs at which the first and the second model come; one that is linked goes before the next.
MEASURED = (("guider", "model"), ("second_guider", "second_model"))
FOLDERS = ("checkpoints", "diffusion_models", "unet_gguf")
FARTHEST = 200  # nodes on the way

Link = tuple[str, int]


def loaded_from(graph: Any, node_id: str | None) -> str | None:
    """Files that the models that Optimize AYS measures were loaded from; None: unknown.

    Names of checkpoints and LoRAs without folders and endings: "checkpoint + LoRA 0.8", with a
    second model "high noise, then low noise".

    graph: the host's DynamicPrompt
    """
    links = [_linked(graph, node_id, inputs) for inputs in MEASURED]
    found = [_named(graph, link, FARTHEST) for link in links if link is not None]
    names = [name for name in found if name]
    return ", then ".join(names) if names and len(names) == len(found) else None


def _named(graph: Any, link: Link, deepest: int) -> str | None:
    node = graph.get_node(link[0])
    kind = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
    before = list(_models(graph, node))
    if deepest == 0 or not _hands_on_a_model(kind, link[1]):
        return None
    if not before:
        return _checkpoint(node)
    found = [_named(graph, each, deepest - 1) for each in before]
    if len(found) > 1 and _module(kind) != MERGES:
        return None  # a switch, perhaps
    names = [name for name in found if name is not None]
    if len(names) < len(found):
        return None
    return " + ".join([" & ".join(names), *_change(node, kind)])


def _change(node: dict[str, Any], kind: Any) -> list[str]:
    """Say what a node on the way does to the model: nothing to tell of, or one thing."""
    if node["class_type"] in LORAS:
        strength = node["inputs"].get("strength_model")
        name = _stem(node["inputs"].get("lora_name"))
        if strength == 0:
            return []
        known = name and isinstance(strength, int | float)
        return [f"{name} {strength:g}" if known else name or "a LoRA"]
    if CORE.match(_module(kind)) or kind.__module__.startswith(OUR_PACKAGE):
        return []
    title = nodes.NODE_DISPLAY_NAME_MAPPINGS.get(node["class_type"]) or node["class_type"]
    return [one_line(str(title))]


def _module(kind: Any) -> str:
    """Origin of a kind of node, as the host notes it when it loads one."""
    return str(getattr(kind, "RELATIVE_PYTHON_MODULE", "nodes"))


def _checkpoint(node: dict[str, Any]) -> str | None:
    """The one file of models that a loader names; None for none, and for several."""
    texts = [value for value in node["inputs"].values() if isinstance(value, str)]
    files = {text for text in texts if any(_is_in(folder, text) for folder in FOLDERS)}
    # A loader of another pack may apply LoRAs, too, at a strength that is not known here.
    loras = any(_is_in("loras", text) for text in texts)
    return _stem(files.pop()) if len(files) == 1 and not loras else None


def _models(graph: Any, node: dict[str, Any]) -> Iterator[Link]:
    """The links through which a node gets models."""
    for value in node["inputs"].values():
        link = _as_link(graph, value)
        if link is not None:
            kind = nodes.NODE_CLASS_MAPPINGS[graph.get_node(link[0])["class_type"]]
            if _hands_on_a_model(kind, link[1]):
                yield link


def _hands_on_a_model(kind: Any, output: int) -> bool:
    types = kind.RETURN_TYPES
    return output < len(types) and types[output] in LINKS


def _linked(graph: Any, node_id: str | None, inputs: Sequence[str]) -> Link | None:
    """The first link at these inputs of a node."""
    if graph is None or node_id is None or not graph.has_node(node_id):
        return None
    given = graph.get_node(node_id)["inputs"]
    links = (_as_link(graph, given.get(name)) for name in inputs)
    return next((link for link in links if link is not None), None)


def _as_link(graph: Any, value: Any) -> Link | None:
    """[node id, output], if that is what an input holds."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], int):
        return None
    return (value[0], value[1]) if isinstance(value[0], str) and graph.has_node(value[0]) else None


def _is_in(folder: str, name: str) -> bool:
    try:
        return folder_paths.get_full_path(folder, name) is not None
    except (KeyError, OSError, ValueError):  # no such kind of folder, or no name of a file
        return False


def _stem(name: object) -> str:
    """A file's name without its folder and its ending."""
    stem = re.split(r"[/\\]", name)[-1] if isinstance(name, str) else ""
    return one_line(re.sub(r"\.[A-Za-z]\w{1,11}$", "", stem))
