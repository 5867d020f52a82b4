/** The pictures in a node: how large they are, and that they are those of its last run. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { nodeOf } from "./places.js";

const ASPECT = "ays_aspect"; // in a node's output: height by width of its picture
const HIGHEST = 2; // of the node's width; higher pictures are made smaller
const SIZE_TEXT = 24; // pixels below a picture, where the page writes how large it is
const PAINTED = "$$canvas-image-preview"; // the page's widget for pictures, on the canvas

/**
 * Show what nodes put out: without the last preview of their work, which the page would show in its
 * place or below it, and as wide as the node. The page gives pictures a fixed height, in which their
 * texts would be too small.
 *
 * @param {(node: any) => boolean} ours
 */
export function showOutputs(ours) {
  api.addEventListener("executed", ({ detail }) => {
    const node = nodeOf(detail.display_node ?? detail.node);
    if (!node || !ours(node)) return;
    dropPreviews(node);
    const [aspect] = detail.output?.[ASPECT] ?? [];
    if (aspect > 0) makeRoom(node, Math.min(aspect, HIGHEST));
  });
}

/**
 * Drop all pictures of a node: they are of another run than what the node says.
 *
 * @param {string} id under which the server runs it
 * @param {any} node
 */
export function dropPictures(id, node) {
  dropPreviews(node);
  pictures()?.setNodeOutputsByExecutionId?.(id, {});
  // What the classic renderer paints; its widget cannot paint nothing.
  node.imgs = node.images = undefined;
  const painted = paintedIn(node);
  if (painted) node.removeWidget(painted);
}

/** @param {any} node */
function dropPreviews(node) {
  const root = node.graph === (app.rootGraph ?? app.graph);
  const key = root ? String(node.id) : `${node.graph.id}:${node.id}`;
  delete app.nodePreviewImages?.[key];
  delete pictures()?.nodePreviewImages?.[key];
}

/**
 * @param {any} node
 * @param {number} aspect height by width of its picture
 */
function makeRoom(node, aspect) {
  const height = Math.ceil(node.size[0] * aspect) + SIZE_TEXT;
  if (window.LiteGraph.vueNodesMode) {
    const element = document.querySelector(`.lg-node[data-node-id="${CSS.escape(node.id)}"]`);
    element?.style.setProperty("--ays-picture", `${height}px`); // text.css reads it
  } else {
    const others = node.computeSize()[1] - (paintedIn(node)?.computeLayoutSize(node).minHeight ?? 0);
    node.setSize([node.size[0], Math.max(node.size[1], others + height)]);
  }
}

/** The widget in which the classic renderer paints a node's pictures, if there are any. */
const paintedIn = (node) => node.widgets?.find((widget) => widget.name === PAINTED);

/** Where the page keeps the pictures of all nodes; nothing offers it to extensions. */
function pictures() {
  const page = document.getElementById("vue-app")?.__vue_app__;
  return page?.config.globalProperties.$pinia?._s.get("nodeOutput");
}
