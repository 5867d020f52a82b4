"""The example workflows on the host's page: they load without a fault, and run.

They name checkpoints that nobody downloads for a test: files of these names are empty, and what
would load them is replaced by the test pack's models before a workflow is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from align_your_steps.tests.host.browser import HostPage, open_page
from align_your_steps.tests.host.examples import EXAMPLES, FOLDER, place_files
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.host.ways import Way

PACK = "align-your-steps"
SIZE = 64  # pixels of a picture, eight for each of a digit's latent
LABEL, NO_LABEL = 3, -1

# What the page holds after loading: unknown nodes, inputs whose link is not there, widgets whose
# value is not among those that they offer, and every message that is shown.
FAULTS = """
() => {
  const SHOWN = '.p-toast-message, [role=dialog], [role=alert], [role=status]';
  const faults = [];
  for (const node of app.graph.nodes) {
    if (!LiteGraph.registered_node_types[node.type] || node.has_errors)
      faults.push(`${node.type}: unknown node`);
    for (const [slot, input] of (node.inputs ?? []).entries()) {
      if (input.link == null) continue;
      const link = app.graph.getLink(input.link);
      const source = link && app.graph.getNodeById(link.origin_id)?.outputs?.[link.origin_slot];
      if (!source?.links?.includes(input.link) || link.target_slot !== slot)
        faults.push(`${node.type}.${input.name}: broken link`);
    }
    for (const widget of node.widgets ?? []) {
      const {values, min, max} = widget.options ?? {};
      if (Array.isArray(values) && !values.includes(widget.value))
        faults.push(`${node.type}.${widget.name}: ${widget.value} is not offered`);
      if (typeof widget.value === 'number' && (widget.value < min || widget.value > max))
        faults.push(`${node.type}.${widget.name}: ${widget.value} is out of range`);
    }
  }
  for (const shown of document.querySelectorAll(SHOWN))
    if (shown.innerText?.trim()) faults.push(`message: ${shown.innerText}`);
  return faults;
}
"""


PICTURES = """
count => [...document.querySelectorAll('[role=dialog] img')].filter(
  image => image.complete && image.naturalWidth > 100).length === count
"""


@pytest.fixture(scope="module")
def page(
    page_server: ComfyServer, way: Way, chromium: str
) -> Iterator[tuple[HostPage, ComfyServer]]:
    """The page of a host that has a file of every name that the examples choose, and the host."""
    place_files(page_server.base)
    with open_page(page_server, chromium, vue=way.vue) as opened:
        yield opened, page_server


def loaded(page: HostPage, name: str) -> dict[str, Any]:
    """Open a workflow of the folder on the page, and return what is in its file."""
    saved: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    page.page.evaluate(
        "([saved, name]) => app.loadGraphData(saved, true, true, name)", [saved, name]
    )
    return saved


def substituted(graph: Graph) -> Graph:
    """The graph with the test pack's digits in place of all that needs a file, and few calls."""
    flow = any(node["class_type"] == "UNETLoader" for node in graph.values())
    model = {"denoiser": "digits", "prediction": "flow" if flow else "eps", "seed": 0, "shift": 1.0}
    changed: Graph = {
        "model": {"class_type": "AYSTestModel", "inputs": model},
        "clip": {"class_type": "AYSTestCLIP", "inputs": {}},
        "vae": {"class_type": "AYSTestDigitsVAE", "inputs": {}},
    }
    gone: dict[tuple[str, int], str] = {}
    for key, node in graph.items():
        kind, inputs = node["class_type"], dict(node["inputs"])
        if kind == "CheckpointLoaderSimple":
            gone |= {(key, 0): "model", (key, 1): "clip", (key, 2): "vae"}
        elif kind == "UNETLoader":
            gone[key, 0] = "model"
        elif kind == "VAELoader":
            gone[key, 0] = "vae"
        elif kind == "CLIPTextEncode":
            label = NO_LABEL if node["_meta"]["title"] == "Negative" else LABEL
            changed[key] = {"class_type": "AYSTestConditioning", "inputs": {"label": label}}
        elif kind == "VAEEncode":  # the digits are pictures already
            latent = {"shapes": "[[1, 1, 8, 8]]", "seed": 1}
            changed[key] = {"class_type": "AYSTestLatent", "inputs": latent}
        elif kind == "ConditioningZeroOut":
            changed[key] = {"class_type": "AYSTestConditioning", "inputs": {"label": NO_LABEL}}
        elif kind not in ("DualCLIPLoader", "LoadImage"):
            few = {"width": SIZE, "height": SIZE, "budget": 600, "noises": 2}
            inputs |= {name: few[name] for name in few if name in inputs}
            changed[key] = {"class_type": kind, "inputs": inputs}
    for node in changed.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and tuple(value) in gone:
                node["inputs"][name] = [gone[value[0], value[1]], 0]
    return changed


def test_there_is_a_file_for_each_example_and_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(EXAMPLES)
    assert {path.stem for path in FOLDER.glob("*.jpg")} == set(EXAMPLES)
    for path in FOLDER.glob("*.jpg"):
        assert path.stat().st_size <= 150_000, path.name


def test_the_page_can_offer_every_file_that_an_example_loads() -> None:
    for name, example in EXAMPLES.items():
        saved = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        loaders = [node for node in saved["nodes"] if "models" in node["properties"]]
        for node in loaders:
            for model in node["properties"]["models"]:
                assert model["name"] in node["widgets_values"]
                assert model["url"].endswith(f"/{model['name']}")
        offered = [model for node in loaders for model in node["properties"]["models"]]
        wanted = [node for column in example.columns for node in column.nodes.values()]
        assert offered == [model for node in wanted for model in node.models()]
        assert offered


def test_the_host_offers_the_examples_with_their_pictures(
    page: tuple[HostPage, ComfyServer], way: Way
) -> None:
    opened, server = page
    assert set(server.get("/workflow_templates")[PACK]) == set(EXAMPLES)
    opened.page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = opened.page.get_by_role("dialog")
    dialog.get_by_text(PACK).first.click()
    for name in EXAMPLES:
        dialog.get_by_text(name, exact=True).first.wait_for()
    opened.page.wait_for_function(PICTURES, arg=len(EXAMPLES))
    opened.screenshot(f"examples {way}")
    dialog.get_by_text(next(iter(EXAMPLES)), exact=True).first.click()
    opened.page.wait_for_function("() => app.graph.nodes.some(node => node.type === 'AYSApply')")
    dialog.wait_for(state="hidden")
    assert opened.page.evaluate(FAULTS) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_loads_without_a_fault(
    page: tuple[HostPage, ComfyServer], way: Way, name: str
) -> None:
    opened, _ = page
    saved = loaded(opened, name)
    assert opened.page.evaluate(FAULTS) == []
    assert opened.page.evaluate("() => app.graph.nodes.length") == len(saved["nodes"])
    assert opened.page.evaluate("() => app.graph.links.size") == len(saved["links"])
    opened.screenshot(f"example {name} {way}")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_its_description_says_and_runs_to_a_picture(
    page: tuple[HostPage, ComfyServer], name: str
) -> None:
    opened, server = page
    loaded(opened, name)
    graph: Graph = opened.page.evaluate("async () => (await app.graphToPrompt()).output")
    for key, node in EXAMPLES[name].graph().items():
        given = dict(node["inputs"])
        given.pop("control_after_generate", None)  # the page's own
        assert graph[key]["class_type"] == node["class_type"]
        assert given.items() <= graph[key]["inputs"].items()

    entry = server.run(substituted(graph))
    kinds = {key: node["class_type"] for key, node in graph.items()}
    shows = [key for key, kind in kinds.items() if kind in ("SaveImage", "AYSCompare", "AYSPlot")]
    assert shows
    for key in shows:
        assert entry["outputs"][key]["images"], f"{kinds[key]} shows no picture"
