/** The pictures in a node: those of its last run, and the last preview of its work. */

import { api } from "../../../scripts/api.js";
import { nodeOf } from "./places.js";

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
  node.imgs = node.images = node.preview = undefined; // what the classic renderer paints
  node.imageIndex = null;
}

/** Where the page keeps the pictures of all nodes; nothing offers it to extensions. */
function pictures() {
  const page = document.getElementById("vue-app")?.__vue_app__;
  return page?.config.globalProperties.$pinia?._s.get("nodeOutput");
}
