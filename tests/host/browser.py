"""A browser on the page of a running host: what a person does and sees there.

The page is a program of its own, which changes with every version of the host; used here is what
works in the pages of ComfyUI 0.3.75 and 0.33, in both of their renderers.
"""

from __future__ import annotations

import atexit
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.renderers import HOLD, ClassicNodes, VueNodes, middle
from align_your_steps.tests.host.server import ComfyServer, Graph, HostError
from align_your_steps.tests.host.ways import can
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    TimeoutError,
    sync_playwright,
)

__all__ = ["ARTEFACTS", "HostPage", "open_page"]

ARTEFACTS = Path(__file__).resolve().parents[1] / "artefacts"
# No sandbox, because it refuses to run as root; no /dev/shm, because containers make it small.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
SCREEN = (1920, 1080)
ATTEMPTS = 20  # at opening the search, and at making the page keep a workflow
EMPTY = (1300, 980)  # a place of the canvas without nodes
KEPT_WITHIN = 5000  # ms: pages write half a second after they notice
KEPT = """
texts => [...Object.values(localStorage), ...Object.values(sessionStorage)]
  .some(stored => texts.every(text => stored.includes(text)))
"""
# A result of the search; older pages give the same role to a row for chosen filters.
FOUND = "[role=option]:not(.p-autocomplete-input-chip)"
OURS = re.compile(r"/extensions/align", re.IGNORECASE)
# The page asks for help in the user's language first; there is only the one in English.
ASKED_IN_VAIN = re.compile(r"/docs/\w+/\w+\.md")


@contextmanager
def open_page(
    server: ComfyServer,
    executable: str,
    timeout: float = 60.0,
    *,
    vue: bool = False,
    screen: tuple[int, int] = SCREEN,
) -> Iterator[HostPage]:
    """The page of a running host, in a browser with an empty profile.

    Arguments:
        server: its first-run dialog is switched off.
        executable: path of a chromium.
        timeout: seconds after which every wait ends with playwright's TimeoutError.
        vue: whether nodes are drawn as "Nodes 2.0" instead of on the canvas.
        screen: width and height of the window.
    """
    # The dialog comes late and does not always obey Escape: better that it never opens.
    server.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": vue})
    profile = _browser(executable).new_context(viewport={"width": screen[0], "height": screen[1]})
    try:
        page = profile.new_page()
        page.set_default_timeout(1000 * timeout)
        opened = HostPage(page, VueNodes(page) if vue else ClassicNodes(page))
        page.goto(server._url)
        opened.wait()
        yield opened
    finally:
        profile.close()
        server.post("/settings", {"Comfy.VueNodes.Enabled": False})


@cache
def _browser(executable: str) -> Browser:
    """One browser for all pages, until the program ends."""
    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    return playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)


class HostPage:
    """Hands and eyes of a person on the page.

    Nodes are named by their ids; `nodes` says where they are on the screen.
    """

    def __init__(self, page: Page, nodes: ClassicNodes | VueNodes) -> None:
        self.page = page
        self.nodes = nodes
        self.our_errors: list[str] = []  # what the console says about our files
        page.on("console", self._note)
        page.on("pageerror", lambda error: self._note_error(str(error.stack)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note_error(f"{message.text} {message.location.get('url', '')}")

    def _note_error(self, text: str) -> None:
        if OURS.search(text) and not ASKED_IN_VAIN.search(text):
            self.our_errors.append(text)

    # -- the page ----------------------------------------------------------------------------

    def wait(self) -> None:
        """Wait until the page has drawn its workflow and lets itself be used."""
        self.page.wait_for_function("() => window.app?.canvas && app.graph?.nodes?.length")
        self.page.wait_for_function("() => app.extensionManager")
        self.page.locator(".p-blockui-mask").wait_for(state="hidden")

    def reload(self) -> None:
        """Reload the page."""
        self.page.reload()
        self.wait()

    def new_workflow(self) -> None:
        """Click "+" for an empty workflow."""
        self.page.get_by_label("Create a new blank workflow").first.click()
        self.page.wait_for_function("() => app.graph.nodes.length === 0")

    def screenshot(self, name: str) -> None:
        """Save what is on the screen in tests/artefacts, which git ignores."""
        path = ARTEFACTS / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)

    # -- the search --------------------------------------------------------------------------

    def search(self, text: str, first: str = "") -> list[str]:
        """Empty the canvas, double-click it, type a text, and return the titles that are found.

        first: wait until a node of that title is the first
        """
        self.page.evaluate("() => app.graph.clear()")
        box = self._search_box()
        results = self._results(box, text, first)
        if first:
            results.first.filter(has_text=first).wait_for()
        titles = [result.split("\n")[0].strip() for result in results.all_inner_texts()]
        self.screenshot(f"search {text}")
        self.page.keyboard.press("Escape")
        box.wait_for(state="hidden")
        return titles

    def add(self, title: str, x: float, y: float, typed: str = "") -> str:
        """Double-click at a place, type, choose the node of that title; return the node's id.

        Newer pages hang the chosen node on the mouse: a click drops it.
        """
        before = self._ids()
        box = self._search_box(x, y)
        results = self._results(box, typed or title, title)
        results.get_by_text(title, exact=True).first.click()
        box.wait_for(state="hidden")
        self.page.wait_for_function("count => app.graph.nodes.length > count", arg=len(before))
        (node,) = self._ids() - before
        for _ in range(ATTEMPTS):  # a dialog that is fading out takes the click
            if not self.page.evaluate("id => app.graph.getNodeById(id).flags.ghost", node):
                return node
            self.page.mouse.move(x, y, steps=3)
            self.page.mouse.click(x, y, delay=HOLD)
            with suppress(TimeoutError):
                self.page.wait_for_function(
                    "id => !app.graph.getNodeById(id).flags.ghost", arg=node, timeout=3000
                )
        raise AssertionError(f"{title} still hangs on the mouse")

    def title_of(self, node_type: str) -> str:
        """The title under which the search lists a node."""
        return str(self.page.evaluate("t => LiteGraph.registered_node_types[t].title", node_type))

    def _ids(self) -> set[str]:
        return set(self.page.evaluate("() => app.graph.nodes.map(node => String(node.id))"))

    def _search_box(self, x: float | None = None, y: float | None = None) -> Locator:
        """Double-click until the search opens: a page that is still loading ignores it."""
        box = self.page.locator("input[role=combobox]:focus")
        size = self.page.viewport_size or {}
        at = (x or size["width"] / 2, y or size["height"] / 2)
        # A dialog that is fading out still covers the canvas.
        self.page.wait_for_function(
            "([x, y]) => document.elementFromPoint(x, y)?.id === 'graph-canvas'", arg=at
        )
        for _ in range(ATTEMPTS):
            self.page.mouse.dblclick(*at, delay=HOLD)
            with suppress(TimeoutError):
                box.wait_for(timeout=3000)
                return box
        raise HostError(f"The page's search did not open at {ATTEMPTS} double-clicks.")

    def _results(self, box: Locator, text: str, title: str = "") -> Locator:
        box.fill(text)
        results = self.page.locator(FOUND)
        results.filter(has_text=title or text).first.wait_for()
        return results

    # -- the workflow ------------------------------------------------------------------------

    def load(self, graph: Graph, centre: str) -> None:
        """Open an API graph as a workflow, with the node of the id `centre` in the middle."""
        self.page.evaluate("graph => app.loadApiJson(graph, 'test')", graph)
        self.page.evaluate("id => app.canvas.centerOnNode(app.graph.getNodeById(id))", centre)

    def keep(self, *texts: str) -> None:
        """Wait until the page has a workflow with these texts where it finds it after a reload.

        It writes one when it notices a change, and looks for one at clicks, but not at every
        moment: a node is moved a little until it has.
        """
        for _ in range(ATTEMPTS):
            self.page.evaluate("() => { app.graph.nodes[0].pos[0] += 1 }")
            self.page.mouse.click(*EMPTY)
            with suppress(TimeoutError):
                self.page.wait_for_function(KEPT, arg=list(texts), timeout=KEPT_WITHIN)
                break
        else:
            raise HostError(f"The page did not keep a workflow that was changed {ATTEMPTS} times.")
        self.page.wait_for_timeout(1000)  # newer pages write a little later

    def link(self, source: str, output: str, target: str, name: str) -> None:
        """Drag a link with the mouse, from the output of a node to an input of another."""
        self.page.mouse.move(*self.nodes.slot(source, "out", output))
        self.page.mouse.down()
        self.page.mouse.move(*self.nodes.slot(target, "in", name), steps=6)
        self.page.mouse.up()
        self.page.wait_for_function(
            "([id, name]) => app.graph.getNodeById(id).inputs.find(i => i.name === name).link",
            arg=[target, name],
        )

    def values(self, node: str) -> dict[str, Any]:
        """The values that a node's inputs have of their own, by their names."""
        found: dict[str, Any] = self.page.evaluate(
            "id => { const { inputs, widgets = [] } = app.graph.getNodeById(id);"
            "const named = new Set(inputs.map(input => input.widget?.name));"
            "return Object.fromEntries(widgets.filter(widget => named.has(widget.name))"
            ".map(widget => [widget.name, widget.value])) }",
            node,
        )
        return found

    def queue(self) -> str:
        """Click "Run" and return the id of the prompt.

        Raises HostError if the host refuses the workflow.
        """

        def is_answer(response: Response) -> bool:
            return response.request.method == "POST" and response.url.endswith("/prompt")

        with self.page.expect_response(is_answer) as answer:
            self.page.get_by_test_id("queue-button").first.click()
        if not answer.value.ok:
            raise HostError(f"The host refused the workflow: {answer.value.text()}")
        return str(answer.value.json()["prompt_id"])

    def cancel(self) -> None:
        """Click the page's own button that cancels what is running."""
        self.page.get_by_label("Cancel current run").first.click()

    # -- what it shows -----------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The version of the front end, as it says itself."""
        return str(self.page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__"))

    def can(self, what: str) -> bool:
        """Tell whether this page can do what docs/front_ends.md calls by these words."""
        return can(what, self.version, isinstance(self.nodes, VueNodes))

    def needs(self, what: str) -> None:
        """Leave the test out, with the reason, where this page cannot do it."""
        if not self.can(what):
            pytest.skip(f"front end {self.version}, {type(self.nodes).__name__}: no {what}")

    def text(self, pattern: str) -> str:
        """The text under a node in which a regular expression is found; waits until it is shown."""
        return self.page.locator(".ays-text", has_text=re.compile(pattern)).first.inner_text()

    def progress(self, title: str) -> str:
        """Return what the page says about the node that runs; waits until it is under way."""
        line = re.compile(rf"Current node:\s*{re.escape(title)}\s*\d*[1-9]\d*%")
        return self.page.get_by_text(line).first.inner_text()

    def error(self, pattern: str) -> str:
        """The line about a failed run in which a regular expression is found.

        Older pages open it in a dialog, newer ones behind a button.
        """
        sentence = self.page.get_by_text(re.compile(pattern)).first
        details = self.page.get_by_test_id("error-overlay-see-errors")
        sentence.or_(details).first.wait_for()
        if not sentence.is_visible():
            details.click()
        lines = sentence.inner_text().splitlines()  # newer pages show the whole log
        return next(line for line in lines if re.search(pattern, line))

    def close_error(self) -> None:
        """Close what tells about a failed run."""
        closing = self.page.locator(".p-dialog-close-button, [data-testid=error-overlay-dismiss]")
        for button in closing.all():
            button.click()

    def help(self, node: str) -> Locator:
        """Select a node and click its "i": the help that opens.

        The node is brought to the middle first: the help of another may cover it.
        """
        self.page.evaluate("id => app.canvas.centerOnNode(app.graph.getNodeById(id))", node)
        self.page.evaluate("() => new Promise(requestAnimationFrame)")
        self.page.mouse.click(*self.nodes.title(node), delay=HOLD)
        button = self.page.get_by_test_id("info-button").first
        button.wait_for()
        self.page.mouse.click(*middle(button), delay=HOLD)  # it moves with the node while shown
        return self.page.locator(".node-help-content")

    def picture_width(self, node: str) -> int:
        """Pixels, of the picture in the node with that id; waits until it is loaded."""
        return self.nodes.picture_width(node)
