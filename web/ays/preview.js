/** The pictures in a node: those of its last run, and the last preview of its work. */

import { api } from "../../../scripts/api.js";
import { nodeOf } from "./places.js";

const ASPECT = "ays_aspect"; // in a node's output: height by width of its picture
const HIGHEST = 2; // of the node's width; higher pictures are made smaller
const SIZE_TEXT = 24; // pixels below a picture, where the page writes how large it is
const PAINTED = "$$canvas-image-preview"; // the page's widget for pictures, on the canvas

/**
 * Drop the last preview when the picture is there: Nodes 2.0 would go on showing it below. The other
 * renderer shows previews in the place of pictures: there the server sends the picture as the last
 * preview, too.
 *
 * @param {Set<string>} kinds of nodes
 */
export function dropPreviews(kinds) {
  api.addEventListener("executed", ({ detail }) => {
    const id = String(detail.display_node ?? detail.node);
    if (window.LiteGraph.vueNodesMode && kinds.has(nodeOf(id)?.comfyClass)) {
      pictures()?.revokePreviewsByExecutionId?.(id);
    }
  });
}

/**
 * Drop all pictures of a node: they are of another run than what the node says.
 *
 * @param {string} id under which the server runs it
 * @param {any} node
 */
export function dropPictures(id, node) {
  pictures()?.revokePreviewsByExecutionId?.(id);
  pictures()?.setNodeOutputsByExecutionId?.(id, {});
  // What the classic renderer paints; its widget cannot paint nothing.
  node.imgs = node.images = undefined;
  const painted = paintedIn(node);
  if (painted) node.removeWidget(painted);
}

/**
 * Show the pictures of nodes as wide as the nodes are: the page gives them a fixed height, in which
 * their texts would be too small.
 *
 * @param {(node: any) => boolean} ours
 */
export function makeRoomForPictures(ours) {
  api.addEventListener("executed", ({ detail }) => {
    const node = nodeOf(detail.display_node ?? detail.node);
    const [aspect] = detail.output?.[ASPECT] ?? [];
    if (!node || !ours(node) || !(aspect > 0)) return;
    const height = Math.ceil(node.size[0] * Math.min(aspect, HIGHEST)) + SIZE_TEXT;
    if (window.LiteGraph.vueNodesMode) {
      const element = document.querySelector(`.lg-node[data-node-id="${CSS.escape(node.id)}"]`);
      element?.style.setProperty("--ays-picture", `${height}px`); // text.css reads it
    } else {
      const others = node.computeSize()[1] - (paintedIn(node)?.computeLayoutSize(node).minHeight ?? 0);
      node.setSize([node.size[0], Math.max(node.size[1], others + height)]);
    }
  });
}

/** The widget in which the classic renderer paints a node's pictures, if there are any. */
const paintedIn = (node) => node.widgets?.find((widget) => widget.name === PAINTED);

/** Where the page keeps the pictures of all nodes; nothing offers it to extensions. */
function pictures() {
  const page = document.getElementById("vue-app")?.__vue_app__;
  return page?.config.globalProperties.$pinia?._s.get("nodeOutput");
}
