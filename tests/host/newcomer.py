"""A newcomer's first picture with an optimised schedule, click by click.

    python -m align_your_steps.tests.host.newcomer [--pace SECONDS] [--nodes-2] [--newest]

On an empty host that holds nothing but the packed archive and the digits model, with the mouse and
the keyboard of a real browser: everything from the open page to the picture. It prints a table of
all that is done, with the time since the page was opened, and keeps a screenshot of each step in
tests/artefacts/newcomer/.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from align_your_steps.tests.host.archive import can_make_archive, make_archive
from align_your_steps.tests.host.browser import ARTEFACTS, HostPage, open_page
from align_your_steps.tests.host.get_browser import NO_BROWSER, find_browser
from align_your_steps.tests.host.get_front_end import NEWEST, OWN
from align_your_steps.tests.host.get_host import find_host
from align_your_steps.tests.host.server import TEST_PACK, ComfyServer

__all__ = ["FirstPicture"]

PACK = "align-your-steps"  # the folder that ComfyUI Manager makes
PACE = 3.0  # seconds
GOAL = 120.0

# Where each node is dropped, in pixels of a window of 1920 × 1080.
DROPPED = {
    "model": ("AYSTestModel", (100, 180)),
    "prompt": ("AYSTestConditioning", (100, 430)),
    "negative prompt": ("AYSTestConditioning", (100, 590)),
    "empty latent": ("Empty Latent Image", (100, 750)),
    "optimize": ("Optimize AYS", (440, 180)),
    "sampler": ("KSampler", (850, 180)),
    "vae": ("AYSTestDigitsVAE", (1190, 180)),
    "decode": ("VAE Decode", (1190, 330)),
    "preview": ("Preview Image", (1500, 330)),
}
LINKED = [
    ("model", "MODEL", "optimize", "model"),
    ("prompt", "CONDITIONING", "optimize", "positive"),
    ("negative prompt", "CONDITIONING", "optimize", "negative"),
    ("empty latent", "LATENT", "optimize", "latent_image"),
    ("optimize", "MODEL", "sampler", "model"),
    ("prompt", "CONDITIONING", "sampler", "positive"),
    ("negative prompt", "CONDITIONING", "sampler", "negative"),
    ("empty latent", "LATENT", "sampler", "latent_image"),
    ("sampler", "LATENT", "decode", "samples"),
    ("vae", "VAE", "decode", "vae"),
    ("decode", "IMAGE", "preview", "images"),
]
CHOSEN = [
    ("model", "denoiser", "digits"),
    ("sampler", "sampler_name", "ays_model"),
    ("sampler", "scheduler", "ays_model"),
]
TYPED = [
    ("prompt", "label", "3"),
    ("empty latent", "width", "64"),
    ("empty latent", "height", "64"),
    ("sampler", "steps", "10"),
    ("sampler", "cfg", "7"),
]


class FirstPicture:
    """The workflow of the first picture, built by hand on a page.

    Arguments:
        page: an open page.
        note: called after every step with a line that says what was done.
    """

    def __init__(self, page: HostPage, note: Callable[[str], None] = lambda _: None) -> None:
        self.page = page
        self.note = note
        self.ids: dict[str, str] = {}

    def build(self) -> None:
        """An empty workflow; nodes found, dropped, linked and set, all but `queue`."""
        self.page.new_workflow()
        self.note("click '+' for an empty workflow")
        for name, (title, place) in DROPPED.items():
            self.ids[name] = self.page.add(title, *place)
            self.note(f"double-click, type '{title}', click it")
        for source, output, target, name in LINKED:
            self.page.link(self.ids[source], output, self.ids[target], name)
            self.note(f"drag {output} of the {source} to {name} of the {target}")
        for node, widget, value in CHOSEN:
            self.page.nodes.choose(self.ids[node], widget, value)
            self.note(f"choose {widget} '{value}' in the {node}")
        for node, widget, value in TYPED:
            self.page.nodes.type_value(self.ids[node], widget, value)
            self.note(f"type {widget} {value} in the {node}")

    def queue(self) -> str:
        """Click "Run"; return the id of the prompt."""
        prompt_id = self.page.queue()
        self.note("click Run")
        return prompt_id

    def wait(self) -> None:
        """Wait for the picture."""
        self.page.picture_width(self.ids["preview"])
        self.note("the picture is there")


class Diary:
    """Prints each step with the time, takes a picture of the screen, and waits as a person does."""

    def __init__(self, pace: float) -> None:
        self.pace = pace
        self.began = time.monotonic()
        self.steps = 0
        self.page: HostPage | None = None
        print("| step | second | what was done |\n|---:|---:|---|")

    @property
    def seconds(self) -> float:
        """Since the page was opened."""
        return time.monotonic() - self.began

    def __call__(self, text: str) -> None:
        """Note a step."""
        self.steps += 1
        print(f"| {self.steps} | {self.seconds:.0f} | {text} |", flush=True)
        if self.page is not None:
            self.page.screenshot(f"newcomer/{self.steps:02d} {text}".replace("'", ""))
        time.sleep(self.pace)  # looks and thinks


def unpacked_archive(folder: Path) -> Path:
    """Unpack what the registry would deliver into a folder of its own."""
    reason = can_make_archive()
    if reason:
        sys.exit(reason)
    pack = folder / PACK
    with zipfile.ZipFile(make_archive(folder)) as packed:
        packed.extractall(pack)
    return pack


def main() -> None:
    """Make the first picture and say how long it took."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pace", type=float, default=PACE, help="seconds of thought before a step")
    parser.add_argument("--nodes-2", action="store_true", help="the page's newer renderer")
    parser.add_argument("--newest", action="store_true", help="the newest front end")
    arguments = parser.parse_args()
    browser = find_browser()
    if browser is None:
        sys.exit(NO_BROWSER)
    shutil.rmtree(ARTEFACTS / "newcomer", ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        packs = (unpacked_archive(folder), TEST_PACK)
        front_end = NEWEST if arguments.newest else OWN
        command = ["--cpu", *front_end.arguments()]
        with ComfyServer(find_host(), folder / "host", packs, command) as server:
            diary = Diary(arguments.pace)
            with open_page(server, browser, vue=arguments.nodes_2) as diary.page:
                diary("the page is open")
                first = FirstPicture(diary.page, diary)
                first.build()
                first.queue()
                first.wait()
                took = diary.seconds
    print(f"\n{took:.0f} s from opening the page to the picture; the goal is {GOAL:.0f} s.")
    sys.exit(took > GOAL)


if __name__ == "__main__":
    main()
