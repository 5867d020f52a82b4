/** The open workflow's nodes by the ids under which the server runs them. */

import { app } from "../../../scripts/app.js";

/** @returns {any} the graph of the open workflow, whichever of its subgraphs is on the screen */
export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

/**
 * @param {string | number} id "5:3" is node 3 of the subgraph that node 5 stands for
 * @returns {any} the node of the open workflow, if it has one
 */
export function nodeOf(id) {
  let graph = rootGraph();
  let node;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(part);
    graph = node?.subgraph;
  }
  return node;
}

/**
 * @param {any} graph
 * @param {string} before what the ids of its nodes begin with
 * @returns {Generator<[string, any]>} every node of the open workflow with its id
 */
export function* everyNode(graph = rootGraph(), before = "") {
  for (const node of graph?.nodes ?? []) {
    yield [before + node.id, node];
    if (node.subgraph) yield* everyNode(node.subgraph, `${before}${node.id}:`);
  }
}
