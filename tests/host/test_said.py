"""What nodes say and show on the page, and what is typed into them: on every front end, in both
renderers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from align_your_steps.tests.host.browser import HostPage, open_page
from align_your_steps.tests.host.graphs import optimize_graph, plot_graph, scheduler_graph
from align_your_steps.tests.host.server import ComfyServer, Graph, HostError
from align_your_steps.tests.host.test_plots import SMALLEST_TEXT
from align_your_steps.tests.host.ways import Way

NODE = "7"
BUDGET = 600
DELAY = 6  # ms a call
DRAWN_WIDTH = 300  # points of a plot's width, of which SMALLEST_TEXT is told
GAIN = "less error than|nothing is (certainly )?better|No standard choice"
AFTER = 2500  # ms in which newer pages clear what they have of a run
EVIL = '<img src=x onerror="window.hacked = true"> <b>bold</b>'
# What Optimize AYS and Compare Schedules of version 0.2 wrote into workflows.
OLD_VALUES = {
    "AYSApply": ["SDXL"],
    "AYSScheduler": ["SD1.5", 12, 0.5, "truncate"],
    "AYSOptimize": [6.5, "euler", 8, 0.75, 5000, 1.5, 11, "paper (KLUB)", "measure again",
                    "mine", "5, 20", 3],
    "AYSCompare": [4, "heun", 7, 0.5, "auto, karras", 16, 9],
    "AYSPlot": ["best, karras"],
}  # fmt: skip
LOOK = """
async id => {
  app.canvas.centerOnNode(app.graph.getNodeById(id));
  app.canvas.setDirty(true, true);
  for (let k = 0; k < 4; k++) await new Promise(requestAnimationFrame);
}
"""
SAID = "id => app.graph.getNodeById(id).widgets.find(w => w.name === 'ays_text').element"
PICTURES = """
([id, vue]) => vue
  ? document.querySelectorAll(`[data-node-id="${id}"] img`).length
  : app.graph.getNodeById(id).imgs?.length ?? 0
"""
# Pixels of the page, at a zoom of 1, that the picture in a node is wide.
SHOWN_WIDTH = """
([id, vue]) => {
  const node = app.graph.getNodeById(id);
  if (vue) {
    const image = document.querySelector(`[data-node-id="${id}"] img`);
    const box = image.getBoundingClientRect(), zoom = app.canvas.ds.scale;
    return Math.min(box.width, box.height * image.naturalWidth / image.naturalHeight) / zoom;
  }
  const { computedHeight } = node.widgets.find(w => w.name === "$$canvas-image-preview");
  const [image] = node.imgs, room = computedHeight - 15;  // where its size is written
  return Math.min(node.size[0], room * image.naturalWidth / image.naturalHeight);
}
"""


@pytest.fixture(scope="module")
def server(page_server: ComfyServer) -> ComfyServer:
    """The shared server of each front end."""
    return page_server


@pytest.fixture(scope="module")
def page(server: ComfyServer, way: Way, chromium: str) -> Iterator[HostPage]:
    """The page of the shared server."""
    with open_page(server, chromium, timeout=90.0, vue=way.vue) as opened:
        yield opened
    server.get("/ays_test/reset")


def numbered(graph: Graph, **ids: str) -> Graph:
    """The graph with these ids in the place of names, and the numbers from 100 on for others."""
    ids = {name: ids.get(name, str(100 + place)) for place, name in enumerate(graph)}
    return {
        ids[name]: {
            **node,
            "inputs": {
                key: [ids.get(value[0], value[0]), value[1]] if isinstance(value, list) else value
                for key, value in node["inputs"].items()
            },
        }
        for name, node in graph.items()
    }


def optimize(way: Way, seed: int, **inputs: Any) -> Graph:
    """Optimize AYS alone; seeds differ between renderers, which share a server."""
    graph = optimize_graph(seed=7000 + 2 * seed + way.vue, budget=BUDGET, **inputs)
    del graph["sigmas"], graph["report"]
    return numbered(graph, optimize=NODE)


def compare(schedules: str, **inputs: Any) -> Graph:
    """Compare Schedules alone."""
    graph = optimize_graph()
    settings = {**graph["optimize"]["inputs"], "schedules": schedules, "noises": 2, **inputs}
    for name in ("budget", "minutes", "method", "reuse", "name"):
        del settings[name]
    graph["optimize"] = {"class_type": "AYSCompare", "inputs": settings}
    del graph["sigmas"], graph["report"]
    return numbered(graph, optimize=NODE)


def run(page: HostPage, server: ComfyServer) -> str:
    """Click "Run" and wait; how it ended."""
    status: str = server.wait(page.queue())["status"]["status_str"]
    return status


def look(page: HostPage, node: str = NODE) -> None:
    """Bring a node to the middle of the window and wait until it is drawn there."""
    page.page.evaluate(LOOK, node)


def types(page: HostPage, widget: str, value: str, node: str = NODE) -> None:
    """Type a value into a widget of a node."""
    look(page, node)
    page.nodes.type_value(node, widget, value)


def says(page: HostPage, pattern: str) -> None:
    """Wait until the node shows a text in which a regular expression is found."""
    text = page.nodes.text(NODE, pattern)
    text.wait_for(state="attached")
    look(page)  # it may have grown out of the window
    text.wait_for()


def said(page: HostPage) -> str:
    """Return what the node says now."""
    text: str = page.page.evaluate(f"id => ({SAID})(id).textContent", NODE)
    return text


def shown_text(page: HostPage, way: Way) -> str:
    """Return what is to be read in the node, whichever element shows it."""
    texts = page.page.locator(f'[data-node-id="{NODE}"] .ays-text' if way.vue else ".ays-text")
    return "".join(text for text in texts.all_inner_texts() if text)


def pictures(page: HostPage, way: Way) -> int:
    """Count how many pictures the node shows."""
    count: int = page.page.evaluate(PICTURES, [NODE, way.vue])
    return count


def is_old(page: HostPage, old: bool) -> None:
    """Wait until the text is shown as one about other inputs, or as one about these."""
    page.page.mouse.click(1700, 960)  # the page looks for changes at clicks
    page.page.wait_for_function(
        f"([id, old]) => !!({SAID})(id).querySelector('.ays-old') === old", arg=[NODE, old]
    )


# -- text -----------------------------------------------------------------------------------------


def test_the_gain_stays_after_the_run_and_after_a_reload(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    page.load(optimize(way, 1, name=f"gain {way}"), centre=NODE)
    server.get(f"/ays_test/delay?ms={DELAY}")
    prompt = page.queue()
    says(page, rf"of {BUDGET} calls")
    server.get("/ays_test/reset")
    assert server.wait(prompt)["status"]["status_str"] == "success"
    says(page, GAIN)
    page.page.wait_for_timeout(AFTER)
    gain = said(page)
    assert gain.startswith("Keep sampler ")
    assert len(gain.splitlines()) == 2
    page.screenshot(f"said {way}")

    page.keep(f"gain {way}")
    page.reload()
    says(page, GAIN)
    assert said(page) == gain
    assert pictures(page, way) == int(page.can("picture after a reload"))

    # What is said of other inputs is shown as such, and not again after a reload.
    types(page, "name", f"another {way}")
    is_old(page, True)
    page.screenshot(f"said of other inputs {way}")
    types(page, "name", f"gain {way}")
    is_old(page, False)
    types(page, "name", f"another {way}")
    page.keep(f"another {way}")
    page.reload()
    page.page.wait_for_function("id => app.graph.getNodeById(id)?.widgets", arg=NODE)
    assert said(page) == ""


def test_a_text_is_about_the_nodes_before_it_too(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    # The host runs no node again whose inputs are those of the other renderer.
    page.load(numbered(scheduler_graph(steps=10 + way.vue), scheduler=NODE), centre=NODE)
    assert run(page, server) == "success"
    says(page, "auto")
    (model,) = page.page.evaluate(
        "() => app.graph.nodes.filter(n => n.type === 'AYSTestModel').map(n => String(n.id))"
    )
    is_old(page, False)
    # Not typed: nodes of an API graph cover each other in the first "Nodes 2.0".
    page.page.evaluate(
        "id => { app.graph.getNodeById(id).widgets.find(w => w.name === 'seed').value = 12 }", model
    )
    is_old(page, True)


def test_the_choice_of_auto_is_said_in_the_node(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    graph = scheduler_graph()
    graph["apply"] = {
        "class_type": "AYSApply",
        "inputs": {"model": ["model", 0], "schedule": "auto"},
    }
    graph["sigmas"]["inputs"]["sigmas"] = ["basic", 0]
    graph["basic"] = {
        "class_type": "BasicScheduler",
        "inputs": {"model": ["apply", 0], "scheduler": "ays_model", "steps": 4, "denoise": 1.0},
    }
    del graph["scheduler"]
    page.load(numbered(graph, apply=NODE), centre=NODE)
    assert run(page, server) == "success"
    says(page, "auto")
    page.page.wait_for_timeout(AFTER)
    assert "auto" in said(page)
    page.screenshot(f"apply {way}")


def test_what_was_stopped_says_how_to_go_on_also_after_a_reload(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    page.load(optimize(way, 2, name=f"stopped {way}"), centre=NODE)
    server.get(f"/ays_test/delay?ms={5 * DELAY}")
    prompt = page.queue()
    says(page, rf"of {BUDGET} calls")
    page.cancel()
    server.wait(prompt)
    server.get("/ays_test/reset")
    says(page, "Stopped; queue the same again to continue")
    page.keep(f"stopped {way}")
    page.reload()
    says(page, "Stopped; queue the same again to continue")
    assert run(page, server) == "success"
    says(page, GAIN)


def test_an_error_is_said_in_the_node_and_the_old_picture_goes(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    page.load(optimize(way, 2), centre=NODE)
    assert run(page, server) == "success"
    look(page)
    page.picture_width(NODE)
    types(page, "more_steps", "5, x")
    assert run(page, server) == "error"
    says(page, "more_steps was '5, x': give whole numbers")
    page.page.wait_for_function(
        f"([id, vue]) => ({PICTURES})([id, vue]) === 0", arg=[NODE, way.vue]
    )
    page.screenshot(f"failed {way}")
    page.error("more_steps was")
    page.close_error()


def test_a_name_that_nothing_has_is_said_in_the_node_and_the_old_verdict_goes(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    page.load(compare("simple, karras"), centre=NODE)
    assert run(page, server) == "success"
    says(page, "Closest to the image in many steps")
    page.picture_width(NODE)
    page.page.wait_for_timeout(AFTER)
    assert "Closest" in said(page)
    page.page.evaluate(
        "id => { const w = app.graph.getNodeById(id).widgets.find(w => w.name === 'schedules');"
        "w.value = 'simple, karas' }",
        NODE,
    )
    with pytest.raises(HostError, match="There is no schedule 'karas'"):
        page.queue()
    says(page, "^There is no schedule 'karas'")
    assert said(page).count("There is no schedule") == 1
    assert "Closest" not in said(page)
    page.page.wait_for_function(
        f"([id, vue]) => ({PICTURES})([id, vue]) === 0", arg=[NODE, way.vue]
    )
    page.screenshot(f"refused {way}")
    page.close_error()


def test_a_text_is_no_markup(page: HostPage, server: ComfyServer, way: Way) -> None:
    page.load(numbered(plot_graph("14.6, 1, 0", labels=EVIL), plot=NODE), centre=NODE)
    assert run(page, server) == "success"
    says(page, "1 step|2 steps")
    assert EVIL in said(page)
    assert page.page.evaluate("() => window.hacked") is None
    assert page.page.locator(".ays-text *").count() == 0


def test_a_text_is_shown_in_the_workflow_that_it_is_about(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    page.load(optimize(way, 9), centre=NODE)
    assert run(page, server) == "success"
    says(page, GAIN)
    page.load(optimize(way, 3), centre=NODE)  # a tab of its own, with a node of the same id
    page.page.wait_for_timeout(1000)
    assert said(page) == shown_text(page, way) == ""
    server.get(f"/ays_test/delay?ms={DELAY}")
    prompt = page.queue()
    says(page, rf"of {BUDGET} calls")
    page.load(optimize(way, 4), centre=NODE)
    server.get("/ays_test/reset")
    assert server.wait(prompt)["status"]["status_str"] == "success"
    page.page.wait_for_timeout(1000)
    assert said(page) == shown_text(page, way) == ""


def test_texts_are_no_part_of_workflow_or_prompt(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    page.load(compare("simple, karras"), centre=NODE)
    assert run(page, server) == "success"
    says(page, "Closest")
    text = page.page.evaluate(
        "async () => JSON.stringify([app.graph.serialize(), await app.graphToPrompt()])"
    )
    assert "Closest" not in text
    assert "ays_text" not in text


# -- pictures -------------------------------------------------------------------------------------


def test_a_run_does_not_show_the_picture_of_the_last_one(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    page.load(optimize(way, 5), centre=NODE)
    assert run(page, server) == "success"
    look(page)
    page.picture_width(NODE)
    types(page, "seed", str(7100 + way.vue))
    server.get(f"/ays_test/delay?ms={4 * DELAY}")
    prompt = page.queue()
    says(page, "starting|calls")
    # Until this run has a curve there is none, and then it is the only one.
    page.page.wait_for_function(
        f"([id, vue]) => ({PICTURES})([id, vue]) === 0", arg=[NODE, way.vue]
    )
    assert "calls" in said(page) or "starting" in said(page)
    page.screenshot(f"no picture yet {way}")
    server.get(f"/ays_test/delay?ms={DELAY}")
    assert page.picture_width(NODE) == 512
    assert pictures(page, way) == 1
    page.screenshot(f"running {way}")
    server.get("/ays_test/reset")
    assert server.wait(prompt)["status"]["status_str"] == "success"
    page.page.wait_for_function(
        f"([id, vue]) => ({PICTURES})([id, vue]) === 1", arg=[NODE, way.vue]
    )


@pytest.mark.parametrize("kind", ["optimize", "compare", "plot"])
def test_plots_can_be_read_at_the_nodes_default_size(
    page: HostPage, server: ComfyServer, way: Way, kind: str
) -> None:
    if kind == "optimize":
        graph = optimize(way, 5)
    elif kind == "compare":
        graph = compare("simple, karras, beta", vae=["200", 0])
        graph["200"] = {"class_type": "AYSTestDigitsVAE", "inputs": {}}
    else:
        graph = numbered(plot_graph("14.6, 3, 0.5, 0", "10, 2, 1, 0"), plot=NODE)
    page.load(graph, centre=NODE)
    assert run(page, server) == "success"
    look(page)
    page.picture_width(NODE)
    page.page.wait_for_timeout(1000)
    look(page)  # the node has grown
    page.screenshot(f"plot of {kind} {way}")
    width = page.page.evaluate(SHOWN_WIDTH, [NODE, way.vue])
    assert width / DRAWN_WIDTH * SMALLEST_TEXT >= 10.0, width


# -- numbers and workflows -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "widget, typed",
    [("minutes", ("0.4", "1.5", "0.25", "90", "0")), ("budget", ("10", "4050", "1234567")),
     ("cfg", ("7.25", "4.5", "1")), ("denoise", ("0.55", "1")), ("steps", ("7",)),
     ("seed", ("123456789012345",))],
)  # fmt: skip
def test_what_is_typed_is_what_is_taken(
    page: HostPage, way: Way, widget: str, typed: tuple[str, ...]
) -> None:
    page.load(optimize(way, 6), centre=NODE)
    for value in typed:
        types(page, widget, value)
        assert page.values(NODE)[widget] == float(value)
    sent = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    assert sent[NODE]["inputs"][widget] == float(typed[-1])


def test_an_error_speaks_of_the_budget_that_was_typed(
    page: HostPage, server: ComfyServer, way: Way
) -> None:
    page.load(optimize(way, 6), centre=NODE)
    types(page, "budget", "10")
    assert run(page, server) == "error"
    says(page, "The budget was 10 calls")
    page.error("The budget was 10 calls")
    page.close_error()


@pytest.mark.parametrize("kind", OLD_VALUES)
def test_workflows_of_version_0_2_open_with_equal_values(
    page: HostPage, way: Way, kind: str
) -> None:
    values = OLD_VALUES[kind]
    workflow = {
        "version": 0.4, "last_node_id": 7, "last_link_id": 0, "links": [], "groups": [],
        "config": {}, "extra": {},
        "nodes": [{
            "id": 7, "type": kind, "pos": [300, 200], "size": [340, 300], "flags": {}, "order": 0,
            "mode": 0, "inputs": [], "outputs": [], "properties": {}, "widgets_values": values,
        }],
    }  # fmt: skip
    page.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    assert list(page.values(NODE).values())[: len(values)] == values  # newer ones come after them
    again = page.page.evaluate("() => app.graph.serialize().nodes[0].widgets_values")
    assert again[: len(values)] == values


# -- manners ---------------------------------------------------------------------------------------


def test_our_extension_leaves_the_page_its_own(page: HostPage) -> None:
    names = page.page.evaluate("() => app.extensions.map(extension => extension.name)")
    ours = [name for name in names if name.startswith("alignyoursteps")]
    assert ours
    assert all("." in name for name in ours)
    appended = page.page.evaluate(
        "() => [...document.body.children].map(each => each.outerHTML.slice(0, 300))"
        ".filter(html => /\\bays-/.test(html.split('>')[0]))"
    )
    assert appended == []


def test_console_has_no_errors_of_ours(page: HostPage) -> None:
    with contextlib.suppress(TimeoutError):
        page.page.wait_for_timeout(200)
    assert page.our_errors == []
