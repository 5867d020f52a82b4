"""Our extension of the host's page: "Finish now", levels that travel with the workflow, and the
sidebar tab of saved schedules; where nodes matter, in both of the page's renderers.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.schedules.store.files import content_of
from align_your_steps.tests.host.browser import open_page
from align_your_steps.tests.host.graphs import compare_graph, optimize_graph
from align_your_steps.tests.host.panel import OurPage
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.host.ways import Way
from align_your_steps.tests.schedules.made import with_samplers
from playwright.sync_api import APIResponse, Route

LEVELS = [14.0, 6.0, 3.0, 1.0, 0.4, 0.0]
BUDGET = 100_000  # calls; longer than any test waits
DELAY = 20  # ms a call
BEGUN = 20  # calls after which something is being measured
LIST = "**/ays/schedules"  # what the page asks for
# Whether a new node's drop-down has a name.
OFFERED = """
name => LiteGraph.registered_node_types.AYSScheduler.nodeData.input.required.schedule
  .flatMap(part => part.options ?? part).includes(name)
"""
# Put AYS Scheduler into a subgraph, and another instance of it beside; the ids of both.
TWINS = """
() => {
  const graph = app.rootGraph ?? app.graph;
  const { node } = graph.convertToSubgraph(new Set([graph.getNodeById("scheduler")]));
  const copy = node.clone(), shown = LiteGraph.createNode("AYSTestShowSigmas");
  graph.add(copy);
  graph.add(shown);
  graph.getNodeById("model").connect(0, copy, 0);
  copy.connect(0, shown, 0);
  const ended = ({ detail }) => (window.ended ??= []).push(detail.prompt_id);
  app.api.addEventListener("execution_success", ended);
  return [node.id, copy.id].map(String);
}
"""
# Whether both keep a schedule of a name; null: none.
HELD = """
([twins, name]) => twins.every(id => {
  const graph = app.rootGraph ?? app.graph;
  const [found] = Object.values(graph.getNodeById(id).properties.ays_schedules ?? {});
  return (found?.name ?? null) === name;
})
"""
CHOOSE_INSIDE = """
([id, name]) => {
  const graph = app.rootGraph ?? app.graph;
  const { widgets } = graph.getNodeById(id).subgraph.nodes[0];
  const widget = widgets.find(widget => widget.name === "schedule");
  widget.value = name;
  widget.callback(name);
}
"""
HACK = '<img src=x onerror="window.hacked = true"> & co'
SHOWN = HACK.replace("<img", "‹img")


@pytest.fixture(scope="module")
def server(page_server: ComfyServer) -> ComfyServer:
    """The shared server of each front end."""
    return page_server


@pytest.fixture(scope="module")
def ours(server: ComfyServer, way: Way, chromium: str) -> Iterator[OurPage]:
    """The page of the shared server with one of the renderers."""
    with open_page(server, chromium, timeout=120.0, vue=way.vue) as page:
        page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield OurPage(page)
    server.get("/ays_test/reset")


def imported(server: ComfyServer, name: str, levels: list[float] = LEVELS) -> str:
    """Save a schedule on the server; the name that it is listed under."""
    given = {"name": name, "sigmas": levels}
    listed: str = server.post("/ays/schedules/import?filename=test.json", given)["name"]
    return listed


def scheduler_graph(schedule: str) -> Graph:
    """AYS Scheduler for a model, its levels shown."""
    return {
        "model": optimize_graph()["model"],
        "scheduler": {
            "class_type": "AYSScheduler",
            "inputs": {
                "model": ["model", 0],
                "schedule": schedule,
                "steps": len(LEVELS) - 1,
                "denoise": 1.0,
                "denoise_mode": "keep steps",
            },
        },
        "shown": {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["scheduler", 0]}},
    }


def levels_of(entry: dict[str, Any]) -> list[float]:
    """Return what the graph has shown."""
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    levels: list[float] = entry["outputs"]["shown"]["sigmas"]
    return levels


def carried(workflow: dict[str, Any]) -> Any:
    """The levels that a saved workflow's scheduler carries."""
    (node,) = (node for node in workflow["nodes"] if node["type"] == "AYSScheduler")
    return node["properties"].get("ays_schedule")


def test_finish_now_ends_the_measurement_and_the_result_is_listed(
    ours: OurPage, server: ComfyServer
) -> None:
    name = f"finished in {'Nodes 2.0' if ours.vue else 'classic nodes'}"
    # A seed for each: the second would go on with what the first has measured.
    graph = optimize_graph(seed=77 + ours.vue, budget=BUDGET, name=name)
    ours.host.load(graph, centre="optimize")
    ours.open_tab()
    ours.finish_now("optimize")
    ours.toast("Nothing is being measured now.")
    server.get("/ays_test/reset")
    server.get(f"/ays_test/delay?ms={DELAY}")
    prompt_id, _ = ours.queue()
    server.until(lambda: server.get("/ays_test/calls")["calls"] > BEGUN)
    ours.finish_now("optimize")
    ours.toast("Finishing with the best so far")
    server.get("/ays_test/reset")
    entry = server.wait(prompt_id)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    assert "Ended early" in entry["outputs"]["report"]["text"][0]
    ours.row(name).wait_for()
    ours.page.wait_for_function(OFFERED, arg=name)
    ours.host.screenshot(f"panel {name}")


def test_a_list_that_arrives_late_does_not_take_the_place_of_a_newer_one(
    ours: OurPage, server: ComfyServer
) -> None:
    held: list[tuple[Route, APIResponse]] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    ours.open_tab()
    ours.page.route(LIST, hold_the_first)
    refresh = ours.page.locator(".ays-header").get_by_label("Read the list again")
    refresh.click()
    while not held:
        ours.page.evaluate("0")
    name = imported(server, f"newer {ours.vue}", [9.0, 2.0 + ours.vue, 0.0])
    refresh.click()
    ours.row(name).wait_for()
    ((late, answer),) = held
    with ours.page.expect_response(LIST):
        late.fulfill(response=answer)
    ours.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    assert ours.row(name).count() == 1
    ours.page.unroute(LIST)
    server.post("/ays/schedules/delete", {"name": name})


def test_what_is_saved_meanwhile_can_be_chosen_and_the_page_says_nothing_about_it(
    ours: OurPage, server: ComfyServer
) -> None:
    ours.host.load(scheduler_graph("auto"), centre="scheduler")
    ours.open_tab()
    ours.listen()
    file = {"name": f"meanwhile {ours.vue}", "sigmas": [9.0, 3.0 + ours.vue, 0.0]}
    ours.drop("meanwhile.json", json.dumps(file))
    ours.toast(f"Imported: {file['name']}")
    ours.page.wait_for_function(OFFERED, arg=file["name"])
    ours.host.nodes.choose("scheduler", "schedule", file["name"])
    assert ours.node("scheduler", "n.widgets[0].value") == file["name"]
    server.post("/ays/schedules/delete", {"name": file["name"]})
    ours.page.locator(".ays-header").get_by_label("Read the list again").click()
    ours.page.wait_for_function(f"name => !({OFFERED})(name)", arg=file["name"])
    assert all(said.startswith("Align Your Steps") for said in ours.told), ours.told


def test_an_export_restores_what_was_deleted_and_a_duplicate_is_called_one(
    ours: OurPage, server: ComfyServer, tmp_path: Path
) -> None:
    name = imported(server, f"kept elsewhere {ours.vue}", [9.0, 4.0 + ours.vue, 0.0])
    ours.open_tab()
    ours.page.locator(".ays-header").get_by_label("Read the list again").click()
    for suffix in ("json", "safetensors"):
        before = ours.row(name).get_attribute("data-digest")
        file = tmp_path / f"{name}.{suffix}"
        file.write_bytes(ours.exported(name, suffix))
        ours.choose_files(file)
        ours.toast(f"Already here, as {name}")
        ours.delete(name, "Delete")
        ours.row(name).wait_for(state="detached")
        ours.choose_files(file)
        ours.toast(f"Imported: {name}")
        ours.row(name).wait_for()
        assert ours.row(name).get_attribute("data-digest") == before
    server.post("/ays/schedules/delete", {"name": name})


def test_no_schedule_takes_the_name_of_a_scheduler(ours: OurPage, server: ComfyServer) -> None:
    ours.open_tab()
    ours.drop("Karras.json", json.dumps({"sigmas": [9.0, 5.0 + ours.vue, 0.0]}))
    ours.toast("Imported: Karras (2)")
    ours.rename("Karras (2)", "karras")
    ours.toast("'karras' always has another meaning")
    assert ours.row("Karras (2)").count() == 1
    server.post("/ays/schedules/delete", {"name": "Karras (2)"})


def test_a_page_without_a_clipboard_copies_from_the_panel(
    ours: OurPage, server: ComfyServer
) -> None:
    name = f"copied {ours.vue:d}"
    ours.open_tab()
    ours.drop("x.json", json.dumps({"name": name, "sigmas": [9.0, 7.0 + ours.vue, 0.0]}))
    ours.row(name).wait_for()
    ours.page.evaluate(
        "() => { window.copiedFrom = [];"
        "  Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true });"
        "  document.execCommand = () => { const area = document.activeElement;"
        "    copiedFrom.push([area.value, area.closest('.ays-panel') !== null]) } }"
    )
    ours.act(name, "copy", "comfyui")
    ours.toast("Copied.")
    ours.page.evaluate("() => { delete navigator.clipboard; delete document.execCommand }")
    assert ours.page.evaluate("copiedFrom") == [[f"9.0, {7.0 + ours.vue}, 0.0", True]]
    assert ours.page.locator(".ays-panel textarea").count() == 0
    server.post("/ays/schedules/delete", {"name": name})


@pytest.mark.parametrize(
    "text", ["{0}, 1.5, 0.25", "[{0}, 1.5, 0.25, 0.0]", "sigmas=[{0}, 1.5, .25]"]
)
def test_levels_can_be_pasted_as_text(ours: OurPage, server: ComfyServer, text: str) -> None:
    ours.open_tab()
    ours.paste(text.format(9.5 + ours.vue))
    ours.toast("Imported: pasted sigmas")
    ours.row("pasted sigmas").wait_for()
    saved = {row["name"]: row for row in server.get("/ays/schedules")["schedules"]}
    assert saved["pasted sigmas"]["sigmas"] == [9.5 + ours.vue, 1.5, 0.25, 0.0]
    server.post("/ays/schedules/delete", {"name": "pasted sigmas"})
    ours.paste("karras")
    ours.toast("'pasted sigmas.txt' is not a schedule")


def test_an_entry_says_what_it_was_measured_on(ours: OurPage, server: ComfyServer) -> None:
    ours.open_tab()
    file = {"name": f"on a model {ours.vue}", "sigmas": [9.0, 6.0 + ours.vue, 0.0]}
    ours.drop("x.json", json.dumps({**file, "notes": {"model": f"dreamy + {HACK} 0.8"}}))
    ours.row(file["name"]).get_by_text(f"measured on dreamy + {SHOWN} 0.8").wait_for()
    server.post("/ays/schedules/delete", {"name": file["name"]})


def test_an_entry_with_a_calibrated_sampler_is_marked(ours: OurPage, server: ComfyServer) -> None:
    for kind in (".json", ".safetensors"):
        file = content_of(with_samplers(), kind)
        address = f"{server._url}/ays/schedules/import?filename=x{kind}"
        with urllib.request.urlopen(urllib.request.Request(address, data=file)) as answer:
            name = json.load(answer)["name"]
        ours.open_tab()
        ours.page.locator(".ays-header").get_by_label("Read the list again").click()
        ours.row(name).get_by_text("sampler calibrated for 3, 5 steps").wait_for()
        server.post("/ays/schedules/delete", {"name": name})


def test_instances_of_a_subgraph_keep_each_what_it_has_used(
    ours: OurPage, server: ComfyServer
) -> None:
    name = imported(server, f"twins {ours.vue}")
    other = imported(server, f"other of twins {ours.vue}", [9.0, 2.0, 0.0])
    ours.host.load(scheduler_graph(name), centre="scheduler")
    twins = ours.page.evaluate(TWINS)
    prompt_id, sent = ours.queue()
    assert {twin for twin in twins if f"{twin}:scheduler" in sent["prompt"]} == set(twins)
    server.wait(prompt_id)
    ours.page.wait_for_function(HELD, arg=[twins, name])
    inner = ours.workflow()["definitions"]["subgraphs"][0]["nodes"]
    assert "ays_schedule" not in json.dumps(inner), "the instances share it"
    ours.open_tab()
    ours.page.locator(".ays-header").get_by_label("Read the list again").click()
    ours.rename(name, f"renamed {name}")
    name = f"renamed {name}"
    ours.page.wait_for_function(HELD, arg=[twins, name])

    server.post("/ays/schedules/delete", {"name": name})
    prompt_id, sent = ours.queue()
    levels = server.wait(prompt_id)["outputs"]["shown"]["sigmas"]
    assert levels[1:] == pytest.approx(LEVELS[1:], rel=1e-3), "from the workflow"
    ours.page.wait_for_function("id => window.ended.includes(id)", arg=prompt_id)
    ours.page.evaluate(CHOOSE_INSIDE, [twins[0], other])
    ours.page.wait_for_function(HELD, arg=[twins, None])
    server.post("/ays/schedules/delete", {"name": other})


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_all_can_be_seen_in_every_theme(ours: OurPage, server: ComfyServer, theme: str) -> None:
    file = {"name": f"seen {ours.vue}", "sigmas": [9.0, 7.0 + ours.vue, 0.0]}
    model = {"notes": {"model": "dreamshaper_8 + detail_tweaker 0.8"}}
    server.post("/ays/schedules/import?filename=x.json", {**file, **model})
    server.post("/settings", {"Comfy.ColorPalette": theme})
    try:
        ours.host.reload()
        ours.open_tab()
        ours.row(file["name"]).wait_for()
        ours.host.screenshot(f"panel {theme} {ours.host.version} {ours.vue}")
        assert ours.contrast(".ays-curve polyline", "stroke") > 7
        assert ours.contrast(".ays-curve circle", "fill") > 7
        assert ours.contrast(".ays-name") > 7
        assert ours.contrast(".ays-use") > 4.5
        assert ours.contrast(".ays-facts") > 4.5
    finally:
        server.post("/settings", {"Comfy.ColorPalette": "dark"})
        server.post("/ays/schedules/delete", {"name": file["name"]})
        ours.host.reload()


def test_finish_now_is_no_part_of_workflow_or_prompt(ours: OurPage) -> None:
    ours.host.load(optimize_graph(seed=3, name="kept"), centre="optimize")
    # Without the host's own: a text of an earlier run.
    saved = "w.type !== 'button' && w.serialize !== false"
    values = ours.node("optimize", f"n.widgets.filter(w => {saved}).map(w => w.value)")
    workflow = ours.workflow()
    prompt = ours.page.evaluate("app.graphToPrompt().then(made => made.output)")
    (node,) = (node for node in workflow["nodes"] if node["type"] == "AYSOptimize")
    assert node["widgets_values"] == values
    assert "Finish now" not in json.dumps([workflow, prompt])
    ours.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    assert ours.node(node["id"], f"n.widgets.filter(w => {saved}).map(w => w.value)") == values
    assert ours.node(node["id"], "n.widgets.filter(w => w.type === 'button').length") == 1


def test_what_is_compared_can_be_chosen(ours: OurPage, server: ComfyServer) -> None:
    ours.host.load(compare_graph(schedules="karras"), centre="compare")
    nodes = ours.host.nodes
    offers = """name => app.graph.getNodeById("compare").widgets
      .find(widget => widget.name === "new: schedule").options.values.includes(name)"""
    saved = imported(server, f"to compare {ours.vue}")
    assert not ours.page.evaluate(offers, saved)
    ours.open_tab()
    ours.page.locator(".ays-header").get_by_label("Read the list again").click()
    ours.page.wait_for_function(offers, arg=saved)
    listed = "n.widgets.find(w => w.name === 'schedules').value"
    before = ours.workflow()
    nodes.choose("compare", "new: schedule", "beta")
    ours.press("compare", "Add to the list")
    nodes.choose("compare", "new: sampler", "dpmpp_2m")
    nodes.choose("compare", "new: schedule", "exponential")
    ours.press("compare", "Add to the list")
    assert ours.node("compare", listed) == "karras, beta, dpmpp_2m exponential"
    ours.host.screenshot(f"pairs chosen {ours.host.version} {ours.vue}")
    workflow = ours.workflow()
    prompt = ours.page.evaluate("app.graphToPrompt().then(made => made.output)")
    assert "new: schedule" not in json.dumps([workflow, prompt])
    ours.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    (old,), (node,) = (
        [one for one in kept["nodes"] if one["type"] == "AYSCompare"] for kept in (before, workflow)
    )
    assert len(old["widgets_values"]) == len(node["widgets_values"])
    server.post("/ays/schedules/delete", {"name": saved})
    assert ours.node(node["id"], listed) == "karras, beta, dpmpp_2m exponential"


def test_levels_travel_with_the_workflow(ours: OurPage, server: ComfyServer) -> None:
    name = imported(server, f"travels {ours.vue}")
    ours.host.load(scheduler_graph(name), centre="scheduler")
    assert carried(ours.workflow()) is None
    prompt_id, _ = ours.queue()
    levels = levels_of(server.wait(prompt_id))
    assert levels[1:] == pytest.approx(LEVELS[1:], rel=1e-3)  # the first is the model's highest
    ours.page.wait_for_function("app.graph.getNodeById('scheduler').properties.ays_schedule")
    ours.host.keep("ays_schedule")

    server.post("/ays/schedules/delete", {"name": name})
    other = imported(server, f"other {ours.vue}", [9.0, 1.0, 0.0])
    ours.host.reload()
    prompt_id, sent = ours.queue()
    assert carried(sent["extra_data"]["extra_pnginfo"]["workflow"])["name"] == name
    assert levels_of(server.wait(prompt_id)) == levels

    ours.host.nodes.choose("scheduler", "schedule", other)
    assert carried(ours.workflow()) is None
    server.post("/ays/schedules/delete", {"name": other})


def test_a_schedule_is_imported_used_shared_renamed_and_deleted(
    ours: OurPage, server: ComfyServer, tmp_path: Path
) -> None:
    ours.host.load(scheduler_graph("auto"), centre="scheduler")
    ours.open_tab()
    file = tmp_path / "from a friend.json"
    file.write_text(json.dumps({"sigmas": LEVELS}), encoding="utf-8")
    ours.choose_files(file)
    ours.toast("Imported: from a friend")
    ours.row("from a friend").get_by_text("5 steps").wait_for()
    ours.drop("evil.json", json.dumps({"name": HACK, "sigmas": [8.0, 2.0, 0.0]}))
    ours.toast(f"Imported: {SHOWN}")
    assert ours.node("scheduler", "n.type") == "AYSScheduler"  # not taken for a workflow
    ours.drop("broken.json", "[")
    ours.toast("broken")

    ours.act("from a friend", "use")
    ours.toast("AYS Scheduler now uses from a friend.")
    ours.rename("from a friend", "mine")
    ours.row("mine").wait_for()
    ours.page.wait_for_function("app.graph.getNodeById('scheduler').widgets[0].value === 'mine'")
    ours.rename("mine", HACK)
    ours.toast(f"There is already a schedule called '{SHOWN}'")

    ours.act("mine", "copy")
    ours.page.keyboard.press("Tab")
    ours.page.keyboard.press("Escape")
    assert ours.page.evaluate("document.activeElement.dataset.action") == "copy"
    assert not ours.row("mine").locator("[data-action=comfyui]").is_visible()
    ours.act("mine", "copy", "comfyui")
    ours.toast("ManualSigmas")
    copied = ours.page.evaluate("navigator.clipboard.readText()")
    assert [float(level) for level in copied.split(",")] == pytest.approx(LEVELS)
    shared = json.loads(ours.exported("mine", "json"))
    assert shared["levels"][:-1] == pytest.approx(LEVELS[:-1])

    ours.host.screenshot(f"panel {'nodes 2.0' if ours.vue else 'classic'}")
    ours.delete("mine", "Cancel")
    ours.delete("mine", "Delete")
    ours.row("mine").wait_for(state="detached")
    ours.delete(SHOWN, "Delete")
    ours.row(SHOWN).wait_for(state="detached")
    listed = [schedule["name"] for schedule in server.get("/ays/schedules")["schedules"]]
    assert not {"mine", SHOWN} & set(listed)
    assert not ours.page.evaluate("window.hacked")


def test_our_files_raise_no_error(ours: OurPage) -> None:
    """The last of the tests with a page: it looks back on all of them."""
    assert ours.host.our_errors == []
