/** The open workflow's nodes that use a schedule. */

import { app } from "../../../scripts/app.js";
import { keepUnderName, scheduleWidget } from "./carried.js";

const USING = new Set(["AYSScheduler", "AYSApply"]);

/** @type {Set<string>} what the drop-downs offer */
let offered = new Set();
/** @type {string[]} what was saved when the list was last read */
let known = [];

/**
 * @param {any} graph
 * @returns {Generator<any>} the nodes that use a schedule, those inside subgraphs included
 */
function* users(graph = app.graph) {
  for (const node of graph.nodes) {
    if (USING.has(node.comfyClass) && scheduleWidget(node)) yield node;
    if (node.subgraph) yield* users(node.subgraph);
  }
}

/** @returns {any[]} the nodes that are meant: those selected, or the only one that there is */
export function meant() {
  const all = [...users()];
  const selected = all.filter((node) => app.canvas.selected_nodes[node.id] === node);
  return selected.length > 0 || all.length > 1 ? selected : all;
}

/**
 * @param {string} name
 * @param {string} newName
 */
export function renameInNodes(name, newName) {
  for (const node of users()) {
    if (scheduleWidget(node).value === name) keepUnderName(node, newName);
  }
}

/** @param {any} definition of a node, as the host describes it */
export function noteOffered(definition) {
  if (definition.name === "AYSScheduler") offered = new Set(choices(definition, "schedule"));
}

/**
 * @param {any} definition of a node
 * @param {string} input
 * @returns {string[]} what the drop-down of that input offers
 */
export function choices(definition, input) {
  const [type, options] = definition.input.required[input];
  return Array.isArray(type) ? type : options.options;
}

/**
 * Fill the drop-downs anew if they do not offer what is saved.
 *
 * @param {string[]} names of all saved schedules
 */
export async function refreshDropDowns(names) {
  const gone = known.some((name) => !names.includes(name));
  const added = names.some((name) => !offered.has(name));
  known = names;
  if (gone || added) await reload();
}

/** What the key R does, without the messages about it: nobody has pressed it. */
async function reload() {
  if (app.reloadNodeDefs) return app.reloadNodeDefs();
  // Older pages (1.32 is one) offer it with the messages only.
  const definitions = await app.getNodeDefs();
  for (const kind of USING) await app.registerNodeDef(kind, definitions[kind]);
  for (const node of users()) {
    // Into the same list: Nodes 2.0 holds on to it.
    const { values } = scheduleWidget(node).options;
    values.splice(0, values.length, ...choices(definitions[node.comfyClass], "schedule"));
  }
}
