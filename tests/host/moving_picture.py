"""`make moving`: the moving picture of the README, from the host's page.

Needs a browser. A mouse does what a person does: it finds Optimize AYS, links it between a model
and KSampler, clicks "Run", waits, and looks at the image. What is seen is the page itself, but for
the mouse and a line that says what is done. The wait is shown faster than it was.

A GIF, since GitHub and the registry show these everywhere; readers of Markdown differ about
animated WebP.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from align_your_steps.benchmarks.emoji.data import NAMES
from align_your_steps.tests.host.browser import FOUND, HostPage, open_page
from align_your_steps.tests.host.examples import PICTURE_ROOM, Column, Example, Node, ksampler
from align_your_steps.tests.host.get_browser import NO_BROWSER, find_browser
from align_your_steps.tests.host.get_host import find_host
from align_your_steps.tests.host.make_examples import workflow
from align_your_steps.tests.host.pictures import README, SETTINGS
from align_your_steps.tests.host.renderers import Place
from align_your_steps.tests.host.server import ComfyServer
from PIL import Image

View = tuple[float, float, float]  # the place in the window's corner, and the scale

__all__ = ["MOST_BYTES", "OUTPUT"]

OUTPUT = README / "moving.gif"
MOST_BYTES = 2_000_000
WINDOW = (1000, 680)
COLOURS = 128
STEPS, CFG = "6", "3"
LABEL, SEED = 8, 42  # the class, and the seed of the image in the end
CALL_MS = 6  # of a model call, so that there is a wait to be seen
TICK = 70  # milliseconds of a frame while something moves
LOOK = 1400  # and of one that is read
EVERY = 0.4  # seconds between two frames of the wait
WAIT, MOST_WAITING = 6000, 40  # milliseconds in which the wait is shown, and frames of it at most

LINKS = [
    ("checkpoint", "MODEL", "optimize", "model"),
    ("positive", "CONDITIONING", "optimize", "positive"),
    ("negative", "CONDITIONING", "optimize", "negative"),
    ("latent", "LATENT", "optimize", "latent_image"),
    ("vae", "VAE", "optimize", "vae"),
    ("optimize", "MODEL", "sample", "model"),
]
# Where Optimize AYS is dropped and what is looked at: units of the canvas, and pixels of one.
DROP = (390.0, 0.0)
VIEW_LINK, VIEW_WAIT, VIEW_IMAGE = (-10.0, -175.0, 0.68), (130.0, 470.0, 1.0), (700.0, -180.0, 1.1)
HIDDEN = {**SETTINGS, "Comfy.NodeBadge.NodeSourceBadgeMode": "None"}

# A mouse that screenshots show, and a line at the foot of the page.
OVERLAY = """
() => {
  const arrow = document.createElement('div');
  arrow.innerHTML = `<svg width="26" height="26" viewBox="0 0 26 26"><path stroke="#111"
    stroke-width="1.5" fill="#fff" d="M3 2v19l5-4.6 3.3 7.3 3.4-1.5-3.3-7.2 7-.6z"/></svg>`;
  const line = document.createElement('div');
  line.id = 'moving-line';
  const common = 'position:fixed;z-index:99999;pointer-events:none;';
  arrow.style.cssText = common + 'left:500px;top:400px';
  line.style.cssText = common + 'left:50%;bottom:22px;transform:translateX(-50%);' +
    'padding:8px 22px;border-radius:20px;background:#f5c542;color:#111;font:600 20px sans-serif';
  document.body.append(arrow, line);
  addEventListener('pointermove', event => {
    arrow.style.left = `${event.clientX - 3}px`;
    arrow.style.top = `${event.clientY - 2}px`;
  }, true);
}
"""
# Messages, and the page's announcement of its newer renderer.
UNSEEN = ".p-toast, .splitter-overlay-root > .from-blue-600 { display: none }"
LOOK_AT = """
async ([x, y, scale]) => {
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset = [-x + 70 / scale, -y];
  app.canvas.setDirty(true, true);
  for (let k = 0; k < 4; k++) await new Promise(requestAnimationFrame);
}
"""
# Only the workflow that a person already has: no frames, no note.
CLEAR = """
() => {
  for (const group of [...app.graph.groups]) app.graph.remove(group);
  for (const node of app.graph.nodes.filter(node => node.type === 'MarkdownNote'))
    app.graph.remove(node);
  const [first] = app.graph.nodes.map(node => node.pos[0]).sort((a, b) => a - b);
  for (const node of app.graph.nodes) node.pos = [node.pos[0] - first, node.pos[1] - 30];
}
"""


def scene(label: int, seed: int) -> Example:
    """A workflow without us, with room in its middle."""
    model = {"denoiser": "emoji", "prediction": "eps"}
    sampler = ksampler(("checkpoint", 0), "latent", steps=int(STEPS), cfg=float(CFG))
    sampler.inputs.update(seed=seed, sampler_name="dpmpp_2m", scheduler="karras")
    decode = Node("VAEDecode", {"samples": ("sample", 0), "vae": ("vae", 0)})
    size = {"width": 256, "height": 256, "batch_size": 1}
    return Example(
        "moving",
        "",
        (
            Column(
                "",
                {
                    "checkpoint": Node("AYSTestModel", model, "Your model"),
                    "positive": Node(
                        "AYSTestConditioning", {"label": label}, f"Prompt: a {NAMES[label]}"
                    ),
                    "negative": Node("AYSTestConditioning", {"label": -1}, "Negative prompt"),
                    "latent": Node("EmptyLatentImage", size),
                    "vae": Node("AYSTestEmojiVAE", {}, "VAE"),
                },
            ),
            Column("", {}, width=340),
            Column("", {"sample": sampler, "decode": decode}),
            Column(
                "", {"picture": Node("PreviewImage", {"images": ("decode", 0)}, "", PICTURE_ROOM)}
            ),
        ),
    )


class Film:
    """Frames of a page, each with the milliseconds that it is shown."""

    def __init__(self, opened: HostPage) -> None:
        self.opened = opened
        self.page = opened.page
        self.frames: list[Image.Image] = []
        self.times: list[int] = []
        self.at: Place = (WINDOW[0] / 2, WINDOW[1] / 2)

    def take(self, milliseconds: int = TICK) -> None:
        """One frame; if nothing has changed the last one is shown longer."""
        frame = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        if self.frames and frame.tobytes() == self.frames[-1].tobytes():
            self.times[-1] += milliseconds
            return
        self.frames.append(frame)
        self.times.append(milliseconds)

    def say(self, text: str) -> None:
        """Write the line at the foot."""
        self.page.evaluate(
            "text => document.getElementById('moving-line').textContent = text", text
        )

    def move(self, to: Place, frames: int = 4) -> None:
        """Move the mouse there, seen on the way."""
        (x, y), (a, b) = self.at, to
        for k in range(1, frames + 1):
            part = k / frames
            self.page.mouse.move(x + part * (a - x), y + part * (b - y))
            self.take()
        self.at = to

    def drag(self, start: Place, end: Place) -> None:
        """Pull a link."""
        self.move(start, 3)
        self.page.mouse.down()
        self.move(end, 5)
        self.page.mouse.up()
        self.take(2 * TICK)

    def look(self, view: View, start: View | None = None, frames: int = 6) -> None:
        """Bring a place of the canvas to the window's corner, gliding from another one."""
        for k in range(1 if start else frames, frames + 1):
            part = k / frames
            between = [a + part * (b - a) for a, b in zip(start or view, view, strict=True)]
            self.page.evaluate(LOOK_AT, between)
            self.take()

    def hurry(self, begun: int) -> None:
        """Show all frames from that one on in WAIT."""
        step = -(-(len(self.frames) - begun) // MOST_WAITING)
        kept = self.frames[begun::step]
        self.frames[begun:], self.times[begun:] = kept, len(kept) * [WAIT // len(kept)]

    def save(self, path: Path) -> None:
        """Write the GIF, in few colours that all frames share."""
        step = max(1, len(self.frames) // 12)
        some = self.frames[::step] + 3 * self.frames[-1:]  # the image counts
        sheet = Image.new("RGB", (WINDOW[0], len(some) * WINDOW[1]))
        for k, frame in enumerate(some):
            sheet.paste(frame, (0, k * WINDOW[1]))
        palette = sheet.quantize(COLOURS, dither=Image.Dither.NONE)
        first, *others = (
            frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames
        )
        first.save(
            path, save_all=True, append_images=others, duration=self.times, loop=0, optimize=True
        )


def link(film: Film, ids: dict[str, str]) -> None:
    """Find Optimize AYS, and put it between the model and KSampler."""
    film.say("Add one node")
    film.take(LOOK)
    nodes, page = film.opened.nodes, film.page
    x, y = ((DROP[k] - VIEW_LINK[k]) * VIEW_LINK[2] for k in (0, 1))
    place = (x + 170, y + 200)
    film.move(place)
    box = film.opened._search_box(*place)
    for letters in ("op", "opti", "optimize"):
        box.fill(letters)
        film.take(2 * TICK)
    found = page.locator(FOUND).filter(has_text="Optimize AYS").first
    found.wait_for()
    film.take(LOOK // 2)
    page.keyboard.press("Escape")
    box.wait_for(state="hidden")
    ids["optimize"] = film.opened.add("Optimize AYS", *place)
    page.evaluate(
        "([id, x, y]) => { const node = app.graph.getNodeById(id); node.pos = [x, y];"
        "node.setSize([340, node.computeSize()[1]]) }",
        [ids["optimize"], *DROP],
    )
    film.look(VIEW_LINK)
    film.say("Link it between your model and KSampler")
    film.take(LOOK // 2)
    for source, output, target, name in LINKS:
        film.drag(nodes.slot(ids[source], "out", output), nodes.slot(ids[target], "in", name))
    for widget, value in (("cfg", CFG), ("steps", STEPS)):
        nodes.type_value(ids["optimize"], widget, value)
        film.take(3 * TICK)
    film.say("Same steps and cfg as in KSampler")
    film.take(LOOK)
    film.say("Choose ays_model twice")
    for widget in ("sampler_name", "scheduler"):
        nodes.choose(ids["sample"], widget, "ays_model")
        film.take(6 * TICK)
    film.take(LOOK // 2)


def run(film: Film, server: ComfyServer, ids: dict[str, str]) -> None:
    """Click "Run", wait, and look."""
    film.say("Press Run, once")
    button = film.page.get_by_test_id("queue-button").first.bounding_box()
    assert button is not None
    film.move((button["x"] + button["width"] / 3, button["y"] + button["height"] / 2), 6)
    film.take(LOOK // 2)
    server.get(f"/ays_test/delay?ms={CALL_MS}")
    prompt = film.opened.queue()
    film.say("It learns how your model removes noise")
    film.look(VIEW_WAIT, VIEW_LINK)
    film.opened.text(r"\bleft\b")
    begun = len(film.frames)
    while not server.get(f"/history/{prompt}"):
        film.take()
        time.sleep(EVERY)
    film.hurry(begun)
    server.get("/ays_test/reset")
    film.opened.text("Set KSampler")
    film.page.wait_for_timeout(2000)  # until the page has loaded the pictures
    film.say("It tells what was gained")
    film.take(2 * LOOK)
    film.look(VIEW_IMAGE, VIEW_WAIT)
    film.opened.picture_width(ids["picture"])
    film.page.wait_for_timeout(500)
    film.say(f"Your image, in {STEPS} steps")
    film.take(3 * LOOK)


def main(arguments: Sequence[str] | None = None) -> None:
    """Play, and film it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--label", type=int, default=LABEL, help="the class that is painted")
    parser.add_argument("--seed", type=int, default=SEED, help="of the image in the end")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    browser = find_browser()
    if browser is None:
        sys.exit(NO_BROWSER)
    with tempfile.TemporaryDirectory() as base, ComfyServer(find_host(), Path(base)) as server:
        server.post("/settings", HIDDEN)
        with open_page(server, browser, screen=WINDOW) as opened:
            opened.page.add_style_tag(content=UNSEEN)
            example = scene(given.label, given.seed)
            workflow(opened, example)
            opened.page.evaluate(CLEAR)
            opened.page.evaluate(OVERLAY)
            film = Film(opened)
            film.look(VIEW_LINK)
            ids = example.ids()
            link(film, ids)
            run(film, server, ids)
    film.save(given.output)
    size = given.output.stat().st_size
    print(
        f"{given.output}: {len(film.frames)} frames, {sum(film.times) / 1000:.0f} s, {size} bytes"
    )
    sys.exit(size > MOST_BYTES)


if __name__ == "__main__":
    main()
