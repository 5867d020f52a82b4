/**
 * Levels that travel with the workflow: the schedule that a run has used is kept in the node's
 * properties, which every copy, file and picture of the workflow holds.
 *
 * Instances of a subgraph share its nodes, but each may have used another schedule: it is kept in
 * the node of the workflow that stands for the subgraph, under the rest of the node's id.
 */

import { api } from "../../../scripts/api.js";
import { everyNode, nodeOf, rootGraph } from "./places.js";

const PROPERTY = "ays_schedule";
const PLACES = "ays_schedules";

/**
 * @param {any} node
 * @param {() => void} optimised called when the node has made a new schedule
 */
export function carryLevels(node, optimised) {
  before(node, "onExecuted", (output) => {
    const [schedule] = output?.[PROPERTY] ?? [];
    if (schedule && node.graph === rootGraph()) node.properties[PROPERTY] = schedule;
    if (node.comfyClass === "AYSOptimize") optimised();
  });

  const widget = scheduleWidget(node);
  if (!widget) return;
  // A linked primitive calls back at every run, with the value that was there already.
  let chosen = widget.value;
  before(node, "onConfigure", () => (chosen = widget.value));
  before(widget, "callback", (value) => {
    if (value !== chosen) for (const [held, key] of placesOf(node)) delete held[key];
    chosen = value;
  });
}

/**
 * Keep what nodes in subgraphs have used: a node is told of its run, but not of which instance.
 *
 * @param {(node: any) => boolean} carries whether a node's schedule is kept
 */
export function carryInstances(carries) {
  api.addEventListener("executed", ({ detail }) => {
    const [schedule] = detail.output?.[PROPERTY] ?? [];
    const [outer, ...inner] = String(detail.node).split(":");
    if (!schedule || inner.length === 0) return;
    const node = nodeOf(detail.node);
    if (!node || !carries(node)) return;
    const { properties } = nodeOf(outer);
    properties[PLACES] = { ...properties[PLACES], [inner.join(":")]: schedule };
  });
}

/**
 * @param {any} node
 * @returns {[Record<string, any>, string][]} objects that may hold its schedule, and the key in each
 */
function placesOf(node) {
  const places = [[node.properties, PROPERTY]];
  for (const [id, found] of everyNode()) {
    const [outer, ...inner] = id.split(":");
    const held = found === node && inner.length > 0 && nodeOf(outer).properties[PLACES];
    if (held) places.push([held, inner.join(":")]);
  }
  return places;
}

/**
 * Put the schedule's new name where the old one was chosen: it stays the same schedule.
 *
 * @param {any} node
 * @param {string} name
 */
export function keepUnderName(node, name) {
  const old = scheduleWidget(node).value;
  const kept = placesOf(node).map(([held, key]) => ({ held, key, schedule: held[key] }));
  choose(node, name);
  for (const { held, key, schedule } of kept) {
    if (!schedule) continue;
    // Another instance may have used another one; a name may show with digits behind it.
    const other = held !== node.properties && old.replace(/ \[\w{6}\]$/, "") !== schedule.name;
    held[key] = other ? schedule : { ...schedule, name };
  }
}

/**
 * Choose a schedule, as if by hand.
 *
 * @param {any} node
 * @param {string} name
 */
export function choose(node, name) {
  const widget = scheduleWidget(node);
  widget.value = name;
  widget.callback?.(name);
  node.setDirtyCanvas(true, true);
}

/** @param {any} node */
export function scheduleWidget(node) {
  return node.widgets?.find((widget) => widget.name === "schedule");
}

/**
 * @param {any} object
 * @param {string} method
 * @param {(...values: any[]) => void} action is called first
 */
function before(object, method, action) {
  const original = object[method];
  object[method] = function (...values) {
    action(...values);
    return original?.apply(this, values);
  };
}
