"""What a node shows in the end is what it puts out, not the preview of its work."""

from __future__ import annotations

from align_your_steps.tests.host.browser import open_page
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.host.test_nodes import optimize_graph

WIDTH = "id => app.graph.getNodeById(id).imgs?.[0]?.naturalWidth"
PREVIEW = 512  # pixels of its width
LARGER = f"id => ({WIDTH})(id) > {PREVIEW}"


def test_the_plot_takes_the_place_of_the_preview(
    server: ComfyServer, chromium: str
) -> None:
    with open_page(server, chromium) as page:
        # A seed that no other test has: a saved result has no preview.
        page.load(optimize_graph(seed=4321, budget=600), centre="optimize")
        server.get("/ays_test/delay?ms=5")
        prompt_id = page.queue()
        assert page.picture_width("optimize") == PREVIEW
        status = server.wait(prompt_id)["status"]
        server.get("/ays_test/reset")
        assert status["status_str"] == "success", status["messages"]
        page.page.wait_for_function(LARGER, arg="optimize", timeout=10_000)
