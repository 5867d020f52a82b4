"""`make examples`: write the example workflows, as the host's page saves them.

The page fills in what a node has beside its inputs; where things stand is decided here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from align_your_steps.tests.host.browser import HostPage, open_page
from align_your_steps.tests.host.examples import EXAMPLES, FOLDER, Example
from align_your_steps.tests.host.get_browser import NO_BROWSER, find_browser
from align_your_steps.tests.host.get_host import find_host
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.host.thumbnails import draw_thumbnail

__all__ = ["workflow"]

# Columns side by side, a frame around each, the note in front of them. A node's position is that
# of its body: its title stands above. Between nodes there is room for the taller ones of the
# page's newer renderer.
BUILD = """
async ([graph, columns, note]) => {
  const TITLE = 30, GAP = 50, BETWEEN = 80, MARGIN = 20, WIDTH = 310;
  app.clean();  // what was shown under nodes of the same ids goes too
  await app.loadApiJson(graph, 'example');
  let x = WIDTH + BETWEEN;
  for (const [title, nodes, least] of columns) {
    const found = nodes.map(([id, room]) => [app.graph.getNodeById(id), room]);
    const width = Math.max(least, ...found.map(([node]) => node.computeSize()[0]));
    let y = 0;
    for (const [node, room] of found) {
      node.setSize([width, node.computeSize()[1] + room]);
      node.pos = [x, y + TITLE];
      y += node.size[1] + TITLE + GAP;
    }
    const group = new LiteGraph.LGraphGroup(title);
    group.pos = [x - MARGIN, -60];
    group.size = [width + 2 * MARGIN, y - GAP + 60 + MARGIN];
    app.graph.add(group);
    x += width + BETWEEN;
  }
  const text = LiteGraph.createNode('MarkdownNote');
  app.graph.add(text);
  text.widgets[0].value = note;
  text.setSize([WIDTH, 240]);
  text.pos = [0, TITLE];
  return JSON.stringify(app.graph.serialize());  // leaves out what is undefined
}
"""
OURS = {"cnr_id": "align-your-steps"}  # by which a manager finds the pack that is missing


def workflow(page: HostPage, example: Example) -> dict[str, Any]:
    """An example as the page saves it, without what depends on the machine it is made on."""
    ids = example.ids()
    columns = [
        [
            column.title,
            [[ids[name], node.room] for name, node in column.nodes.items()],
            column.width,
        ]
        for column in example.columns
    ]
    made: dict[str, Any] = json.loads(
        page.page.evaluate(BUILD, [example.graph(), columns, example.note])
    )
    made["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"align-your-steps/{example.name}"))
    made["extra"] = {"ds": _view([group["bounding"] for group in made["groups"]])}
    loads = {
        ids[key]: node.models() for column in example.columns for key, node in column.nodes.items()
    }
    for node in made["nodes"]:
        named = {} if node["type"] == "MarkdownNote" else {"Node name for S&R": node["type"]}
        node["properties"] = named | (OURS if node["type"].startswith("AYS") else {})
        if models := loads.get(str(node["id"])):
            node["properties"]["models"] = models
    return made


def _view(frames: list[list[float]]) -> dict[str, Any]:
    """Return where the page's canvas stands so that all frames [x, y, width, height] are seen.

    Beside the page's own bars, in a window of 1600 × 1000.
    """
    right = max(x + width for x, _, width, _ in frames)
    bottom = max(y + height for _, y, _, height in frames)
    scale = round(min(0.8, 1480 / right, 800 / (bottom + 60)), 2)
    return {"scale": scale, "offset": [round(90 / scale), round(60 + 130 / scale)]}


def main() -> None:
    """Write every example."""
    browser = find_browser()
    if browser is None:
        sys.exit(NO_BROWSER)
    with (
        tempfile.TemporaryDirectory() as base,
        ComfyServer(find_host(), Path(base)) as server,
        open_page(server, browser) as page,
    ):
        FOLDER.mkdir(exist_ok=True)
        for example in EXAMPLES.values():
            text = json.dumps(workflow(page, example), indent=1, ensure_ascii=False)
            (FOLDER / f"{example.name}.json").write_text(text + "\n", encoding="utf-8")
            draw_thumbnail(example.name, FOLDER / f"{example.name}.jpg")


if __name__ == "__main__":
    main()
