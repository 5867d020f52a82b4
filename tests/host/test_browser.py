"""The nodes on the host's page, used by hand in both of its renderers.

The tests of one page follow each other: the first builds the workflow that the others use.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from align_your_steps.tests.host.browser import HostPage, open_page
from align_your_steps.tests.host.newcomer import FirstPicture
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.host.ways import Way

# Title and the place where it is dropped, so that none covers another.
NODES = {
    "AYSScheduler": ("AYS Scheduler", (100, 180)),
    "AYSApply": ("Apply AYS Schedule", (100, 480)),
    "AYSPlot": ("Plot Sigmas", (100, 660)),
    "AYSOptimize": ("Optimize AYS", (540, 180)),
    "AYSCompare": ("Compare Schedules", (1000, 180)),
    "AYSMergeProfiles": ("Merge AYS Profiles", (1440, 180)),
}
TITLES = {title for title, _ in NODES.values()}
TYPED_ANYWHERE = {"ays": TITLES, "plot sigmas": {"Plot Sigmas"}, "compare": {"Compare Schedules"}}
OPTIMIZE = {"Optimize AYS"}
TYPED_WITH_ALIASES = {"align": OPTIMIZE, "sigmas": OPTIMIZE, "scheduler": TITLES}
# The page puts nodes that are called like what is typed before all others.
TYPED_FOR_THE_FIRST = ("optimize", "optimise", "few steps", "fewer steps")
BUDGET = 1000
DELAY = 4  # ms a call: long enough to be seen on its way


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


@pytest.fixture(scope="module")
def first(page: HostPage) -> FirstPicture:
    """The workflow of the first picture, built by hand."""
    workflow = FirstPicture(page)
    workflow.build()
    optimize = workflow.ids["optimize"]
    page.nodes.type_value(optimize, "budget", str(BUDGET))
    # No other test has this seed: for a saved result there is no progress to be seen.
    page.nodes.type_value(optimize, "seed", str(2000 + len(type(page.nodes).__name__)))
    page.screenshot(f"built {kind(page)}")
    return workflow


def kind(page: HostPage) -> str:
    """Front end and renderer, for the names of screenshots."""
    return f"{page.version} {type(page.nodes).__name__}"


def ended(server: ComfyServer, prompt_id: str) -> str:
    """Return how a prompt ended."""
    status: str = server.wait(prompt_id)["status"]["status_str"]
    return status


def test_workflow_built_by_hand_has_what_was_typed_and_chosen(
    page: HostPage, first: FirstPicture
) -> None:
    sampler, optimize = (page.values(first.ids[name]) for name in ("sampler", "optimize"))
    assert (sampler["scheduler"], sampler["sampler_name"]) == ("ays_model", "ays_model")
    assert (sampler["steps"], sampler["cfg"]) == (10, 7)
    assert optimize["budget"] == BUDGET
    assert page.values(first.ids["model"])["denoiser"] == "digits"
    assert page.values(first.ids["prompt"])["label"] == 3


def test_run_shows_progress_then_plot_and_picture(
    page: HostPage, first: FirstPicture, server: ComfyServer
) -> None:
    optimize = first.ids["optimize"]
    server.get(f"/ays_test/delay?ms={DELAY}")
    prompt_id = first.queue()
    page.progress("Optimize AYS")
    assert str(BUDGET) in page.nodes.text(optimize, "of .* calls").inner_text()
    page.screenshot(f"running {kind(page)}")
    server.get("/ays_test/delay?ms=0")
    first.wait()
    assert ended(server, prompt_id) == "success"
    assert page.picture_width(first.ids["preview"]) == 256
    assert page.picture_width(optimize) > 256
    page.nodes.text(optimize, "(error|better) than").wait_for()
    page.screenshot(f"done {kind(page)}")


def test_report_is_read_in_a_text_node(
    page: HostPage, first: FirstPicture, server: ComfyServer
) -> None:
    text = page.add(page.title_of("PreviewAny"), 1190, 560)
    page.link(first.ids["optimize"], "report", text, "source")
    calls = server.get("/ays_test/calls")["calls"]
    prompt_id = page.queue()
    shown = page.page.wait_for_function(
        "id => app.graph.getNodeById(id).widgets.map(w => String(w.value))"
        ".find(value => value.includes('sigmas:'))",
        arg=text,
    ).json_value()
    assert "dpmpp_2m" in shown
    assert ended(server, prompt_id) == "success"
    # Nothing but KSampler runs again, whose seed is another: the schedule is measured once.
    assert server.get("/ays_test/calls")["calls"] - calls <= 10
    page.screenshot(f"report {kind(page)}")


def test_cancel_stops_the_run_and_the_next_one_goes_on(
    page: HostPage, first: FirstPicture, server: ComfyServer
) -> None:
    optimize = first.ids["optimize"]
    page.nodes.type_value(optimize, "steps", "9")
    assert page.values(optimize)["steps"] == 9
    server.get(f"/ays_test/delay?ms={5 * DELAY}")
    prompt_id = page.queue()
    page.progress("Optimize AYS")
    page.cancel()
    assert ended(server, prompt_id) == "error"
    page.nodes.text(optimize, "Stopped").wait_for()
    page.screenshot(f"cancelled {kind(page)}")
    server.get("/ays_test/delay?ms=0")
    assert ended(server, page.queue()) == "success"


def test_wrong_input_is_answered_in_one_sentence(
    page: HostPage, first: FirstPicture, server: ComfyServer
) -> None:
    page.nodes.type_value(first.ids["optimize"], "more_steps", "5, x")
    assert ended(server, page.queue()) == "error"
    sentence = page.error("more_steps was '5, x'")
    page.screenshot(f"error {kind(page)}")
    assert "whole numbers" in sentence
    page.close_error()


def test_reload_keeps_the_workflow(page: HostPage, first: FirstPicture) -> None:
    before = {node: page.values(node) for node in first.ids.values()}
    page.keep(str(before[first.ids["sampler"]]["seed"]), "5, x")
    page.reload()
    page.page.wait_for_function("id => app.graph.getNodeById(id)", arg=first.ids["preview"])
    assert {node: page.values(node) for node in before} == before
    page.screenshot(f"reloaded {kind(page)}")


@pytest.fixture(scope="module")
def dropped(page: HostPage) -> dict[str, str]:
    """Every node of ours, found by the search and dropped on an empty workflow: id by node."""
    page.new_workflow()
    return {node: page.add(title, *place) for node, (title, place) in NODES.items()}


def test_no_text_is_cut_off_at_default_size(page: HostPage, dropped: dict[str, str]) -> None:
    page.screenshot(f"default size {kind(page)}")
    cut = {node: page.nodes.cut_texts(number) for node, number in dropped.items()}
    assert not any(cut.values()), cut


def test_schedule_is_chosen_from_the_list(page: HostPage, dropped: dict[str, str]) -> None:
    page.nodes.choose(dropped["AYSScheduler"], "schedule", "SDXL")
    page.nodes.type_value(dropped["AYSScheduler"], "steps", "12")
    values = page.values(dropped["AYSScheduler"])
    assert (values["schedule"], values["steps"]) == ("SDXL", 12)


@pytest.mark.parametrize("node", NODES)
def test_help_opens_with_its_picture(page: HostPage, dropped: dict[str, str], node: str) -> None:
    opened = page.help(dropped[node])
    title, _ = NODES[node]
    opened.get_by_role("heading", name=title, exact=True).wait_for()
    picture = opened.locator("img").first
    picture.scroll_into_view_if_needed()
    page.page.wait_for_function("img => img.naturalWidth > 0", arg=picture.element_handle())
    page.screenshot(f"help {node} {kind(page)}")


def test_search_finds_every_node_by_what_people_type(page: HostPage) -> None:
    typed = dict(TYPED_ANYWHERE)
    # Newer pages have the field whether or not the host fills it.
    offered = "() => LiteGraph.registered_node_types.AYSOptimize.nodeData.search_aliases?.length"
    aliases = page.can("search by other words than names") and page.page.evaluate(offered)
    if aliases:
        typed |= TYPED_WITH_ALIASES
    for text, wanted in typed.items():
        assert wanted <= set(page.search(text)), text
    if aliases:
        for text in TYPED_FOR_THE_FIRST:
            assert page.search(text, first="Optimize AYS")[0] == "Optimize AYS"
        ours = [title for title in page.search("align") if title in TITLES]
        assert ours[0] == "Optimize AYS"


def test_console_has_no_errors_of_ours(page: HostPage) -> None:
    assert page.our_errors == []
