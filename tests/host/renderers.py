"""Where things are on a page's canvas, and how a hand works them, in the page's two renderers.

The classic one paints nodes on a canvas; "Nodes 2.0" makes them elements of the page. All places
are pixels of the window.
"""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page

__all__ = ["HOLD", "ClassicNodes", "VueNodes", "middle"]

HOLD = 40  # milliseconds that a finger rests on the button: the canvas overlooks shorter clicks
Place = tuple[float, float]

# From the coordinates of the graph to those of the window.
ON_SCREEN = """
const onScreen = ([x, y]) => {
  const { ds, canvas } = app.canvas, box = canvas.getBoundingClientRect();
  return [(x + ds.offset[0]) * ds.scale + box.left, (y + ds.offset[1]) * ds.scale + box.top];
};
"""
# Titles, slots and widgets as LiteGraph paints them: text of the theme's size, in slots beside a
# dot of 10 pixels, in widgets between margins of 15 and beside two arrows of 16.
CUT_ON_CANVAS = """
id => {
  const node = app.graph.getNodeById(id), pen = document.createElement("canvas").getContext("2d");
  const width = (text, size) => (pen.font = `${size}px ${LiteGraph.NODE_FONT}`,
                                 pen.measureText(text ?? "").width);
  const room = node.size[0], cut = [];
  const fit = (what, needed, given) => needed <= given || cut.push(`${what}: ${needed} > ${given}`);
  const label = slot => slot?.label ?? slot?.localized_name ?? slot?.name ?? "";
  fit(`title ${node.getTitle()}`, width(node.getTitle(), LiteGraph.NODE_TEXT_SIZE),
      room - LiteGraph.NODE_TITLE_HEIGHT - 10);
  const inputs = node.inputs.filter(slot => !slot.widget), size = LiteGraph.NODE_SUBTEXT_SIZE;
  for (let row = 0; row < Math.max(inputs.length, node.outputs.length); row++) {
    const texts = [label(inputs[row]), label(node.outputs[row])];
    fit(`row ${texts}`, width(texts[0], size) + width(texts[1], size), room - 40);
  }
  for (const widget of node.widgets ?? []) {
    if (widget.hidden || widget.element || !["number", "combo", "text", "toggle", "string"]
        .includes(widget.type)) continue;
    const value = widget.type === "number"
      ? Number(widget.value).toFixed(widget.options.precision ?? 3) : String(widget.value ?? "");
    fit(`widget ${label(widget)} ${value}`, width(label(widget), size) + width(value, size) + 5,
        room - 2 * 15 - 2 * 16);
  }
  return cut;
}
"""
CUT_ELEMENTS = """
node => [...node.querySelectorAll(
  ".truncate, [data-testid=node-title], .editable-text, .p-select-label, input, button span")]
  .filter(part => part.offsetWidth > 0 && part.scrollWidth > part.clientWidth + 1)
  .map(part => `${part.value || part.innerText}: ${part.scrollWidth} > ${part.clientWidth}`)
"""


class ClassicNodes:
    """Nodes painted on the canvas."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def title(self, node: str) -> Place:
        """The middle of a node's title bar."""
        return self._place(
            "const n = app.graph.getNodeById(id);"
            "return onScreen([n.pos[0] + n.size[0] / 2, n.pos[1] - LiteGraph.NODE_TITLE_HEIGHT/2])",
            node,
        )

    def slot(self, node: str, side: str, name: str) -> Place:
        """The dot of an input ("in") or output ("out")."""
        return self._place(
            "const n = app.graph.getNodeById(id), ins = side === 'in';"
            "const slots = ins ? n.inputs : n.outputs;"
            "return onScreen(n.getConnectionPos(ins, slots.findIndex(s => s.name === name)))",
            node,
            side,
            name,
        )

    def type_value(self, node: str, widget: str, value: str) -> None:
        """Click a number or a text, type another and press Enter."""
        self.page.mouse.click(*self._widget(node, widget), delay=HOLD)
        box = self.page.locator(".graphdialog input, .graphdialog textarea").first
        box.fill(value)
        box.press("Enter")
        box.wait_for(state="detached")

    def choose(self, node: str, widget: str, value: str) -> None:
        """Click a drop-down, type into its filter and click an entry."""
        self.page.mouse.click(*self._widget(node, widget), delay=HOLD)
        menu = self.page.locator(".litecontextmenu")
        filter_box = menu.locator(".comfy-context-menu-filter")
        if filter_box.count():  # short lists have none
            filter_box.fill(value)
        exact = re.compile(rf"^\s*{re.escape(value)}\s*$")
        menu.locator(".litemenu-entry:visible", has_text=exact).first.click()
        menu.first.wait_for(state="detached")

    def text(self, node: str, pattern: str) -> Locator:
        """The text under a node that a regular expression is found in."""
        return self.page.locator(".dom-widget .ays-text", has_text=re.compile(pattern)).first

    def picture_width(self, node: str) -> int:
        """Pixels of the picture in a node; waits until it is loaded."""
        width = "id => app.graph.getNodeById(id).imgs?.[0]?.naturalWidth"
        return int(self.page.wait_for_function(width, arg=node).json_value())

    def cut_texts(self, node: str) -> list[str]:
        """The texts of a node that do not fit into it, each with the pixels needed and given."""
        cut: list[str] = self.page.evaluate(CUT_ON_CANVAS, node)
        return cut

    def _widget(self, node: str, name: str) -> Place:
        return self._place(
            "const n = app.graph.getNodeById(id), w = n.widgets.find(w => w.name === side);"
            "return onScreen([n.pos[0] + n.size[0] / 2, n.pos[1] + w.last_y + 10])",
            node,
            name,
        )

    def _place(self, body: str, *arguments: Any) -> Place:
        script = f"([id, side, name]) => {{ {ON_SCREEN} {body}; }}"
        x, y = self.page.evaluate(script, [*arguments, None, None][:3])
        return x, y


class VueNodes:
    """Nodes that are elements of the page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def node(self, node: str) -> Locator:
        """The element of a node."""
        return self.page.locator(f'.lg-node[data-node-id="{node}"]')

    def title(self, node: str) -> Place:
        """The middle of a node's title bar."""
        return middle(self.node(node).locator(".lg-node-header"))

    def slot(self, node: str, side: str, name: str) -> Place:
        """The dot of an input ("in") or output ("out")."""
        index = self._index(node, side, name)
        return middle(self.page.locator(f'[data-slot-key="{node}-{side}-{index}"]'))

    def type_value(self, node: str, widget: str, value: str) -> None:
        """Click a number or a text, type another and press Enter."""
        self._widget(node, widget).click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(value)
        self.page.keyboard.press("Enter")

    def choose(self, node: str, widget: str, value: str) -> None:
        """Click a drop-down and then an entry; a long list is scrolled to its end first."""
        self._widget(node, widget).locator("[role=combobox]").click()
        entries = self.page.locator("[role=option]:visible")
        entries.first.wait_for()
        entry = entries.filter(has_text=re.compile(rf"^\s*{re.escape(value)}\s*$")).first
        if not entry.count():  # the page draws only those in view
            self.page.keyboard.press("End")
        entry.click()
        entries.first.wait_for(state="hidden")

    def text(self, node: str, pattern: str) -> Locator:
        """The text in a node that a regular expression is found in."""
        return self.node(node).locator(".ays-text", has_text=re.compile(pattern)).first

    def picture_width(self, node: str) -> int:
        """Pixels of the picture in a node; waits until it is loaded."""
        width = "id => document.querySelector(`[data-node-id='${id}'] img`)?.naturalWidth"
        return int(self.page.wait_for_function(width, arg=node).json_value())

    def cut_texts(self, node: str) -> list[str]:
        """The texts of a node that do not fit into it, each with the pixels needed and given."""
        cut: list[str] = self.node(node).evaluate(CUT_ELEMENTS)
        return cut

    def _widget(self, node: str, name: str) -> Locator:
        index = self._index(node, "in", name)  # a widget is an input too, with a dot of its own
        if index < 0:  # but those that an extension adds are not
            return self.node(node).locator(".lg-node-widget", has_text=name)
        dot = self.page.locator(f'[data-slot-key="{node}-in-{index}"]')
        return self.node(node).locator(".lg-node-widget", has=dot)

    def _index(self, node: str, side: str, name: str) -> int:
        index: int = self.page.evaluate(
            "([id, side, name]) => app.graph.getNodeById(id)[side + 'puts']"
            ".findIndex(slot => slot.name === name)",
            [node, side, name],
        )
        return index


def middle(element: Locator) -> Place:
    """The middle of what is on the screen."""
    box = element.bounding_box()
    assert box is not None, "the element is not on the screen"
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
