"""What a node shows in the end is what it puts out, not the preview of its work."""

from __future__ import annotations

from align_your_steps.tests.host.browser import open_page
from align_your_steps.tests.host.graphs import optimize_graph
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.host.ways import Way

WIDTH = "id => app.graph.getNodeById(id).imgs?.[0]?.naturalWidth"
PREVIEW = 512  # pixels of its width
LARGER = f"id => ({WIDTH})(id) > {PREVIEW}"
NODE = "7"
ONLY_THE_PLOT = f"""
id => {{
  const pictures = [...document.querySelectorAll(`[data-node-id="${{id}}"] img`)];
  return pictures.length === 1 && pictures[0].naturalWidth > {PREVIEW};
}}
"""


def test_the_plot_takes_the_place_of_the_preview(
    page_server: ComfyServer, way: Way, chromium: str
) -> None:
    server, vue = page_server, way.vue
    # A seed that no other test has: a saved result has no preview.
    graph = optimize_graph(seed=4321 + vue, budget=600)
    graph[NODE] = graph.pop("optimize")
    graph = {name: graph[name] for name in ("model", "positive", "negative", "latent", NODE)}
    with open_page(server, chromium, vue=vue) as page:
        page.load(graph, centre=NODE)
        server.get("/ays_test/delay?ms=5")
        prompt_id = page.queue()
        assert page.picture_width(NODE) == PREVIEW
        status = server.wait(prompt_id)["status"]
        server.get("/ays_test/reset")
        assert status["status_str"] == "success", status["messages"]
        page.page.wait_for_function(ONLY_THE_PLOT if vue else LARGER, arg=NODE, timeout=60_000)
        page.screenshot(f"last picture {way}")
