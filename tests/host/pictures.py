"""`make pictures`: every picture of the help and the README, from the host's page.

Needs a browser. Each picture is cut out of the page as a person would see it, around the nodes
that it is about, wherever they stand.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from align_your_steps.tests.host.browser import FOUND, HostPage, open_page
from align_your_steps.tests.host.examples import EXAMPLES, Example, place_files
from align_your_steps.tests.host.get_browser import NO_BROWSER, find_browser
from align_your_steps.tests.host.get_host import find_host
from align_your_steps.tests.host.make_examples import workflow
from align_your_steps.tests.host.scenes import COMPARE, LOOK, MACHINES, MERGE, USE
from align_your_steps.tests.host.server import OUR_PACK, REPOSITORY, TEST_PACK, ComfyServer
from PIL import Image

HELP = REPOSITORY / "web" / "docs" / "img"
README = REPOSITORY / "docs" / "img"
SETTINGS = {  # the page without what covers the canvas
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.TutorialCompleted": True,
}
WINDOW = (1600, 1000)
ROOM = (1480, 800)  # pixels of the window that the page's bars leave free, from CORNER on
TALLER = 250  # pixels more for a node whose texts would be too small to be drawn
CORNER = (90, 180)
CALL_MS = 30  # of a model call, so that there is a progress to be seen

# Put nodes (and the frames around all, if none is named) into the free part of the window, no
# larger than `scale`, and return the size in pixels.
FRAME = """
async ([ids, scale, corner, room, margin]) => {
  const nodes = ids.length ? ids.map(id => app.graph.getNodeById(id)) : app.graph.nodes;
  const boxes = [...nodes, ...(ids.length ? [] : app.graph.groups)].map(item => {
    const [x, y, width, height] = item.getBounding?.() ?? item.boundingRect;
    const badge = ids.length ? 14 : 0;  // above the title of a node
    return [x - margin, y - margin - badge, x + width + margin, y + height + margin];
  });
  const [left, top] = [0, 1].map(k => Math.min(...boxes.map(box => box[k])));
  const [right, bottom] = [2, 3].map(k => Math.max(...boxes.map(box => box[k])));
  scale = Math.min(scale, room[0] / (right - left), room[1] / (bottom - top));
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset = [corner[0] / scale - left, corner[1] / scale - top];
  app.canvas.deselectAll?.();
  app.canvas.setDirty(true, true);
  // Widgets of the page follow the canvas a frame later.
  for (let k = 0; k < 4; k++) await new Promise(requestAnimationFrame);
  return [(right - left) * scale, (bottom - top) * scale];
}
"""
AROUND = """
selectors => {
  const found = selectors.flatMap(selector => [...document.querySelectorAll(selector)])
    .map(element => element.getBoundingClientRect()).filter(box => box.width);
  return [
    Math.min(...found.map(box => box.left)), Math.min(...found.map(box => box.top)),
    Math.max(...found.map(box => box.right)), Math.max(...found.map(box => box.bottom)),
  ];
}
"""
PICTURES = """
count => [...document.querySelectorAll('[role=dialog] img')].filter(
  image => image.complete && image.naturalWidth > 100).length === count
"""
# The picture that a node shows in the end, not the smaller one that it has shown on the way.
SHOWN = """
([ids, preview]) => ids.every(id => app.graph.getNodeById(id).imgs?.every(
  image => image.complete && image.naturalWidth && image.naturalWidth !== preview))
"""
PREVIEW = 512  # its width
STYLED = """
() => [...document.querySelectorAll('link[href*="panel.css"]')].every(link => link.sheet)
"""


class Studio:
    """A host and its page, and how pictures of them are taken."""

    def __init__(self, server: ComfyServer, opened: HostPage) -> None:
        self.server = server
        self.opened = opened
        self.page = opened.page

    def build(self, scene: Example) -> dict[str, str]:
        """Open a scene on the page, without its note; return the ids of its nodes."""
        workflow(self.opened, scene)
        self.remove_notes()
        self.photograph()  # a node that the window does not show loads no picture
        return scene.ids()

    def remove_notes(self) -> None:
        """Leave only the nodes that do something."""
        self.page.evaluate(
            "() => app.graph.nodes.filter(node => node.type === 'MarkdownNote')"
            ".forEach(node => app.graph.remove(node))"
        )

    def photograph(
        self, ids: Sequence[str] = (), scale: float = 1.2, margin: int = 12, taller: int = 0
    ) -> Image.Image:
        """The nodes with these ids, all if there are none, and nothing else of the page.

        taller: pixels by which the window is made higher
        """
        self.page.set_viewport_size({"width": WINDOW[0], "height": WINDOW[1] + taller})
        frame = [list(ids), scale, CORNER, (ROOM[0], ROOM[1] + taller), margin]
        width, height = self.page.evaluate(FRAME, frame)
        clip = {"x": CORNER[0], "y": CORNER[1], "width": width, "height": height}
        return Image.open(io.BytesIO(self.page.screenshot(clip=clip)))

    def cut(self, *selectors: str, margin: int = 12) -> Image.Image:
        """All that these selectors find, and what lies between."""
        left, top, right, bottom = self.page.evaluate(AROUND, list(selectors))
        clip = {"x": left - margin, "y": top - margin}
        clip |= {"width": right - left + 2 * margin, "height": bottom - top + 2 * margin}
        return Image.open(io.BytesIO(self.page.screenshot(clip=clip)))

    def run(self, shown: Sequence[str]) -> None:
        """Click "Run" and wait until the nodes with these ids show their pictures."""
        entry = self.server.wait(self.opened.queue())
        if entry["status"]["status_str"] != "success":
            sys.exit(f"A scene failed: {entry['status']['messages'][-1]}")
        self.shown(shown)

    def shown(self, ids: Sequence[str]) -> None:
        """Wait until the nodes with these ids show their pictures."""
        self.page.wait_for_function(SHOWN, arg=[list(ids), PREVIEW])


def save(image: Image.Image, path: Path, colours: int = 256) -> None:
    """Write a PNG of few colours, which is a third as large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").quantize(colours).save(path, optimize=True)


def use_pictures(studio: Studio) -> None:
    """The way from an empty canvas to the first picture, and Optimize AYS."""
    ids = studio.build(USE)
    save(studio.photograph(), README / "2_link.png")
    studio.server.get(f"/ays_test/delay?ms={CALL_MS}")
    prompt = studio.opened.queue()
    studio.opened.text(r"\bleft\b")
    save(studio.photograph([ids["optimize"]]), README / "3_wait.png")
    studio.server.wait(prompt, timeout=300)
    studio.server.get("/ays_test/reset")
    studio.shown([ids["optimize"], ids["picture"]])
    save(studio.photograph(), README / "4_use.png")
    save(studio.photograph([ids["optimize"]]), HELP / "AYSOptimize.png")
    another = studio.page.evaluate("async () => (await app.graphToPrompt()).output")
    another[ids["optimize"]]["inputs"] |= {"name": "", "sampler_name": "euler", "steps": 8}
    studio.server.run(another)  # so that the panel has a list to show


def search_picture(studio: Studio) -> None:
    """Picture what a double-click on the empty canvas and three letters find."""
    studio.page.evaluate("() => app.clean()")
    box = studio.opened._search_box()
    box.fill("ays")
    studio.page.locator(FOUND).filter(has_text="AYS").first.wait_for()
    save(studio.cut("input[role=combobox]", FOUND), README / "1_search.png")
    studio.page.keyboard.press("Escape")
    box.wait_for(state="hidden")


def browser_picture(studio: Studio) -> None:
    """The examples in the host's browser of templates."""
    studio.page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = studio.page.get_by_role("dialog")
    dialog.get_by_text(next(iter(EXAMPLES)), exact=True).first.wait_for()
    studio.page.wait_for_function(PICTURES, arg=len(EXAMPLES))
    save(studio.cut("[role=dialog]", margin=0), README / "examples.png")


def panel_picture(studio: Studio) -> None:
    """The panel of saved schedules."""
    studio.page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('ays-schedules')")
    studio.page.locator(".ays-list li").first.wait_for()
    studio.page.wait_for_function(STYLED)
    save(studio.cut(".ays-panel header", ".ays-list li"), README / "panel.png")
    studio.page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('ays-schedules')")


def look_pictures(studio: Studio) -> None:
    """The nodes that hand out schedules, and Plot Sigmas."""
    ids = studio.build(LOOK)
    studio.run([ids["plot"]])
    save(studio.photograph([ids["scheduler"]]), HELP / "AYSScheduler.png")
    save(studio.photograph([ids["plot"]]), HELP / "AYSPlot.png")
    save(studio.photograph([ids["apply"], ids["sample"]]), HELP / "AYSApply.png")


def compare_picture(studio: Studio) -> None:
    """Compare Schedules."""
    ids = studio.build(COMPARE)
    studio.run([ids["compare"]])
    save(studio.photograph([ids["compare"]], taller=TALLER), HELP / "AYSCompare.png")


def merge_picture(studio: Studio) -> None:
    """Merge AYS Profiles, with what two machines have measured."""
    ids = studio.build(MERGE)
    measure = studio.page.evaluate("async () => (await app.graphToPrompt()).output")
    del measure[ids["merge"]], measure[ids["optimize"]]["inputs"]["profile"]
    for seed, machine in enumerate(MACHINES):
        measure[ids["optimize"]]["inputs"] |= {"seed": seed, "name": machine}
        studio.server.run(measure)
    entry = studio.server.wait(studio.opened.queue(), timeout=300)
    if entry["status"]["status_str"] != "success":
        sys.exit(f"A scene failed: {entry['status']['messages'][-1]}")
    studio.opened.text("Saved as")
    save(studio.photograph([ids["merge"]]), HELP / "AYSMergeProfiles.png")


# The search and the browser of templates are shown as a user has them, without the test pack.
SCENES = {
    (OUR_PACK,): (search_picture, browser_picture),
    (OUR_PACK, TEST_PACK): (
        use_pictures,
        look_pictures,
        panel_picture,
        compare_picture,
        merge_picture,
    ),
}


def main() -> None:
    """Take them all."""
    browser = find_browser()
    if browser is None:
        sys.exit(NO_BROWSER)
    for packs, scenes in SCENES.items():
        with tempfile.TemporaryDirectory() as base:
            server = ComfyServer(find_host(), Path(base), packs)
            place_files(Path(base))
            with server:
                server.post("/settings", SETTINGS)
                with open_page(server, browser, screen=WINDOW) as opened:
                    opened.page.add_style_tag(content=".p-toast { display: none }")
                    for take in scenes:
                        take(Studio(server, opened))


if __name__ == "__main__":
    main()
