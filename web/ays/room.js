/** Room for the title beside the pack's badge, for the text under the node and for its plot. */

const WIDTH = 340; // pixels

/** @param {any} node */
export function makeRoom(node) {
  node.setSize([Math.max(node.size[0], WIDTH), node.size[1]]);
}
