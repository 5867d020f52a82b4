/** The last preview of a node's work, which Nodes 2.0 would go on showing below its picture. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

/**
 * Drop it when the picture is there. The other renderer shows previews in the place of pictures:
 * there the server sends the picture as the last preview, too.
 *
 * @param {Set<string>} kinds of nodes
 */
export function dropPreviews(kinds) {
  api.addEventListener("executed", ({ detail }) => {
    const id = String(detail.display_node ?? detail.node);
    if (window.LiteGraph.vueNodesMode && kinds.has(nodeOf(id)?.comfyClass)) {
      const page = document.getElementById("vue-app")?.__vue_app__;
      const pictures = page?.config.globalProperties.$pinia?._s.get("nodeOutput");
      pictures?.revokePreviewsByExecutionId?.(id);
    }
  });
}

/**
 * @param {string} id "5:3" is node 3 of the subgraph that node 5 stands for
 * @returns {any} the node of the open workflow, if it has one
 */
function nodeOf(id) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const part of id.split(":")) {
    node = graph?.getNodeById(part);
    graph = node?.subgraph;
  }
  return node;
}
