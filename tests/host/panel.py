"""Additions of our own extension to the host's page, as a person uses it: the sidebar tab of saved
schedules, and the button "Finish now".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from align_your_steps.tests.host.browser import HostPage
from align_your_steps.tests.host.renderers import HOLD, VueNodes
from playwright.sync_api import Locator

__all__ = ["OurPage"]

# The middle of a node's button, in pixels of the window; nodes are painted on a canvas.
BUTTON = """
([id, name]) => {
  const node = app.graph.getNodeById(id), box = app.canvas.canvas.getBoundingClientRect();
  const { last_y } = node.widgets.find(w => w.type === "button" && w.name === name);
  const middle = [node.pos[0] + node.size[0] / 2, node.pos[1] + last_y + 10];
  const [x, y] = app.canvas.ds.convertOffsetToCanvas(middle);
  return [x + box.left, y + box.top];
}
"""
# The least contrast between an element's colour and what is behind it, as WCAG 2 computes it.
CONTRAST = """
([element, property]) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    const [x, y, z] = [r, g, b].map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return a < 255 ? null : 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const own = luminance(getComputedStyle(element)[property]);
  if (own === null) return 0;
  let behind = element, ground = null;
  while (ground === null) {
    if (!behind) return 0;
    ground = luminance(getComputedStyle(behind).backgroundColor);
    behind = behind.parentElement;
  }
  return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
}
"""
TOLD = """
() => {
  window.told ??= [];
  new MutationObserver(changes => {
    for (const { addedNodes } of changes) for (const node of addedNodes) {
      const toast = node.closest?.("SELECTOR") ?? node.querySelector?.("SELECTOR");
      if (toast?.textContent) window.told.push(toast.textContent);
    }
  }).observe(document.body, { childList: true, subtree: true });
}
"""
DROP = """
(panel, [name, text]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], name));
  const event = { dataTransfer, bubbles: true, cancelable: true };
  panel.dispatchEvent(new DragEvent("dragover", event));
  panel.dispatchEvent(new DragEvent("drop", event));
}
"""


PASTE = """
(panel, text) => {
  panel.focus();
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  const event = { clipboardData, bubbles: true, cancelable: true };
  document.activeElement.dispatchEvent(new ClipboardEvent("paste", event));
}
"""


# A message in the corner, and the button of our tab: of older pages and of newer ones.
TOAST = ".p-toast-message, [data-testid=toast]"
TAB = ".ays-schedules-tab-button, [data-testid=ays-schedules-tab-button]"


class OurPage:
    """Hands and eyes of a person on our extension."""

    def __init__(self, host: HostPage) -> None:
        self.host, self.page = host, host.page
        self.vue = isinstance(host.nodes, VueNodes)

    def toast(self, text: str) -> None:
        """Wait for a message in the corner of the page, and close it."""
        message = self.page.locator(TOAST, has_text=text).first
        message.wait_for()
        message.locator("button").click()
        message.wait_for(state="detached")

    def listen(self) -> None:
        """Keep what all messages say, from now on and until the page is loaded anew."""
        self.page.evaluate(TOLD.replace("SELECTOR", TOAST))

    @property
    def told(self) -> list[str]:
        """Return what the messages have said since `listen`."""
        said: list[str] = self.page.evaluate("window.told")
        return said

    # -- nodes -------------------------------------------------------------------------------

    def finish_now(self, node: str) -> None:
        """Press the button of a node that measures."""
        self.press(node, "Finish now")

    def press(self, node: str, button: str) -> None:
        """Press a button of a node."""
        if isinstance(self.host.nodes, VueNodes):
            self.host.nodes.node(node).get_by_role("button", name=button).click()
        else:
            self.page.mouse.click(*self.page.evaluate(BUTTON, [node, button]), delay=HOLD)

    def node(self, node: str, of_node: str) -> Any:
        """The value of a JavaScript expression about a node `n`."""
        return self.page.evaluate(f"id => (n => {of_node})(app.graph.getNodeById(id))", node)

    def workflow(self) -> dict[str, Any]:
        """The open workflow, as the page saves it."""
        saved: dict[str, Any] = json.loads(
            self.page.evaluate("JSON.stringify(app.graph.serialize())")
        )
        return saved

    def queue(self) -> tuple[str, dict[str, Any]]:
        """Click "Run"; the prompt's id, and what is sent with it."""
        with self.page.expect_request(lambda request: request.url.endswith("/prompt")) as request:
            prompt_id = self.host.queue()
        content: dict[str, Any] = json.loads(request.value.post_data or "")
        return prompt_id, content

    # -- the sidebar tab ---------------------------------------------------------------------

    def open_tab(self) -> None:
        """Open the tab, if it is not open, and wait for its list."""
        panel = self.page.locator(".ays-panel")
        if not panel.is_visible():
            self.page.locator(TAB).click()
        panel.locator("li").first.wait_for()

    def row(self, name: str) -> Locator:
        """A saved schedule in the list."""
        exact = self.page.locator(".ays-name").get_by_text(name, exact=True)
        return self.page.locator(".ays-row").filter(has=exact)

    def contrast(self, selector: str, colour: str = "color") -> float:
        """Between a CSS colour of the first such element of the tab and what is behind it: 1 to 21.

        0 if there is no such colour.
        """
        element = self.page.locator(f".ays-panel {selector}").first.element_handle()
        found: float = self.page.evaluate(CONTRAST, [element, colour])
        return found

    def act(self, name: str, *actions: str) -> None:
        """Click a schedule's buttons, one after the other."""
        for action in actions:
            self.row(name).locator(f"[data-action={action}]").click()

    def rename(self, name: str, new_name: str) -> None:
        """Rename a schedule."""
        self.act(name, "rename")
        box = self.page.get_by_role("dialog").locator("input")
        box.fill(new_name)
        box.press("Enter")

    def delete(self, name: str, button: str) -> None:
        """Ask for a schedule's deletion, and answer the question with the button of that name."""
        self.act(name, "delete")
        self.page.get_by_role("dialog").get_by_role("button", name=button).click()

    def choose_files(self, *paths: Path) -> None:
        """Import files by the button."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(".ays-header").get_by_label("Import").click()
        chooser.value.set_files(paths)

    def drop(self, name: str, text: str) -> None:
        """Drop a file on the panel."""
        self.page.locator(".ays-panel").evaluate(DROP, [name, text])

    def paste(self, text: str) -> None:
        """Paste a text while the panel was clicked last."""
        self.page.locator(".ays-panel").evaluate(PASTE, text)

    def exported(self, name: str, file_format: str) -> bytes:
        """The file that a schedule is saved as."""
        with self.page.expect_download() as download:
            self.act(name, "download", file_format)
        return download.value.path().read_bytes()
