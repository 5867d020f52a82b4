/** Room for the title beside the pack's badge, for the text under the node and for its picture. */

const WIDTH = 340; // pixels
const TYPED = 110; // pixels of a text of several lines, which would take half of a high node

/** @param {any} node */
export function makeRoom(node) {
  for (const widget of node.widgets ?? []) {
    if (widget.type === "customtext") widget.options.getMaxHeight = () => TYPED;
  }
  node.setSize([Math.max(node.size[0], WIDTH), node.size[1]]);
}
