"""A browser on the page of a running host: what a person does and sees there.

The page is a program of its own, which changes with every version of the host; used here is what
works in the pages of ComfyUI 0.3.75 and 0.33.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from align_your_steps.tests.host.get_browser import NO_BROWSER, find_browser
from align_your_steps.tests.host.server import ComfyServer, Graph, HostError
from playwright.sync_api import Locator, Page, Response, TimeoutError, sync_playwright

__all__ = ["ARTEFACTS", "NO_BROWSER", "HostPage", "find_browser", "open_page"]

ARTEFACTS = Path(__file__).resolve().parents[1] / "artefacts"
# No sandbox, because it refuses to run as root; no /dev/shm, because containers make it small.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
ATTEMPTS = 8  # at opening the search
# A result of the search; older pages give the same role to a row for chosen filters.
FOUND = "[role=option]:not(.p-autocomplete-input-chip)"


@contextmanager
def open_page(server: ComfyServer, executable: str, timeout: float = 60.0) -> Iterator[HostPage]:
    """The page of a running host, in a browser with an empty profile.

    Arguments:
        server: its first-run dialog is switched off.
        executable: path of a chromium.
        timeout: seconds after which every wait ends with playwright's TimeoutError.
    """
    # The dialog comes late and does not always obey Escape: better that it never opens.
    server.post("/settings", {"Comfy.TutorialCompleted": True})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(1000 * timeout)
        page.goto(server._url)
        # The page is ready when it has drawn its default workflow.
        page.wait_for_function("() => window.app?.canvas && app.graph?.nodes?.length")
        yield HostPage(page)
        browser.close()


class HostPage:
    """What a person does on the page, and sees."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def search(self, text: str) -> list[str]:
        """Empty the canvas, double-click it, type a text, and return the titles that are found."""
        self.page.evaluate("() => app.graph.clear()")
        box = self._search_box()
        box.fill(text)
        results = self.page.locator(FOUND)
        results.filter(has_text=text).first.wait_for()
        titles = [result.split("\n")[0].strip() for result in results.all_inner_texts()]
        self.screenshot(f"search {text}")
        self.page.keyboard.press("Escape")
        box.wait_for(state="hidden")
        return titles

    def _search_box(self) -> Locator:
        """Double-click until the search opens: a page that is still loading ignores it."""
        box = self.page.locator("input[role=combobox]:focus")
        for _ in range(ATTEMPTS):
            self.page.locator("#graph-canvas").dblclick()
            with suppress(TimeoutError):
                box.wait_for(timeout=5000)
                return box
        raise HostError(f"The page's search did not open at {ATTEMPTS} double-clicks.")

    def load(self, graph: Graph, centre: str) -> None:
        """Open an API graph as a workflow, with the node of the id `centre` in the middle."""
        self.page.evaluate("graph => app.loadApiJson(graph, 'test')", graph)
        self.page.evaluate("id => app.canvas.centerOnNode(app.graph.getNodeById(id))", centre)

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

    def text(self, pattern: str) -> str:
        """The text under a node in which a regular expression is found; waits until it is shown."""
        return self.page.locator(".dom-widget", has_text=re.compile(pattern)).first.inner_text()

    def picture_width(self, node: str) -> int:
        """Pixels, of the picture in the node with that id; waits until it is loaded."""
        width = "id => app.graph.getNodeById(id).imgs?.[0]?.naturalWidth"
        return int(self.page.wait_for_function(width, arg=node).json_value())

    def screenshot(self, name: str) -> None:
        """Save what is on the screen in tests/artefacts, which git ignores."""
        ARTEFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{name}.png")
