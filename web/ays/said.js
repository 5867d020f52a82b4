/**
 * What nodes have said last: how their work goes, what came of it, or why it failed.
 *
 * What came of a run is kept in this browser, and not in the workflow: a text may hold the paths of
 * this machine, and goes nowhere with a shared workflow. After a reload it is shown again if the
 * node, and all that it depends on, still are as they were.
 */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { everyNode, nodeOf, rootGraph } from "./places.js";
import { dropPictures } from "./preview.js";
import { showOld, showText } from "./text.js";

const KEY = "alignYourSteps.said";
const NO_ID = "00000000-0000-0000-0000-000000000000"; // of a graph until it is loaded from a workflow
const MOST = 60; // texts that are kept, prompts that are known

/**
 * By prompt: whose it is, and its nodes as they were then.
 *
 * @type {Map<string, {workflow: any, graph: string, nodes: Map<string, {node: any, about: number}>}>}
 */
const queued = new Map();
/** @type {WeakMap<any, number>} by node: what its last text is about */
const about = new WeakMap();

/**
 * Listen to what the server says of nodes.
 *
 * @param {(node: any) => boolean} ours whether a node is one that says something
 */
export function listen(ours) {
  const speaker = (id) => {
    const node = nodeOf(id);
    return node && ours(node) ? node : null;
  };
  const tell = (id, prompt, text, kind) => {
    const node = speaker(id);
    const whose = queued.get(prompt);
    if (!whose || (node && isFrom(whose, id, node))) {
      if (node) say(id, node, text, kind);
    } else {
      // Another workflow is open by now: it is said when that one is opened again.
      const last = { text, kind, about: whose.nodes.get(id)?.about };
      keep(whose.graph, id, kind === "working" ? null : last);
    }
  };
  api.addEventListener("ays.said", ({ detail: { node, prompt, text, kind, client } }) => {
    if (client) tell(node, prompt, text, kind); // else of a prompt that no page has queued
  });
  api.addEventListener("execution_error", ({ detail }) => {
    const { node_id, node_type, prompt_id, exception_message } = detail;
    if (ours({ comfyClass: node_type })) tell(node_id, prompt_id, exception_message.trim(), "failed");
  });
  const refused = (errors) => {
    for (const [id, { errors: found }] of Object.entries(errors ?? {})) {
      if (speaker(id)) say(id, speaker(id), sentences(found), "failed");
    }
  };
  noteQueued(ours, refused);
  api.addEventListener("graphChanged", () => compare(ours));
}

/**
 * Say again what was said before the page was loaded, where it still is true.
 *
 * @param {(node: any) => boolean} ours
 */
export function sayAgain(ours) {
  const kept = read();
  for (const [id, node] of everyNode()) {
    const last = ours(node) && (kept[place(rootGraph().id, id)] ?? kept[place(NO_ID, id)]);
    if (!last || last.about !== inputs(node)) continue;
    about.set(node, last.about);
    showText(node, last.text, last.kind);
  }
}

/**
 * @param {string} id
 * @param {any} node
 * @param {string} text
 * @param {"working" | "done" | "failed"} kind
 */
function say(id, node, text, kind) {
  const working = kind === "working";
  const begins = about.get(node) !== null; // no text of this run was there before
  if (begins || kind === "failed") dropPictures(id, node); // they are of the last run
  if (begins && working) keep(rootGraph().id, id, null);
  about.set(node, working ? null : inputs(node));
  showText(node, text, kind);
  if (!working) keep(rootGraph().id, id, { text, kind, about: about.get(node) });
}

/** Show which texts are about other inputs than those of now. */
function compare(ours) {
  for (const [, node] of everyNode()) {
    if (ours(node) && about.get(node) != null) showOld(node, about.get(node) !== inputs(node));
  }
}

/**
 * Note whose workflow each prompt is, and what the server says about one that it refuses: the page
 * tells extensions neither.
 *
 * @param {(node: any) => boolean} ours
 * @param {(errors: Record<string, {errors: any[]}>) => void} refused
 */
function noteQueued(ours, refused) {
  const queue = api.queuePrompt;
  api.queuePrompt = function (...values) {
    const speaking = [...everyNode()].filter(([, node]) => ours(node));
    const nodes = new Map(speaking.map(([id, node]) => [id, { node, about: inputs(node) }]));
    const whose = { workflow: openWorkflow(), graph: rootGraph().id, nodes };
    const answer = queue.apply(this, values);
    answer.then(
      ({ prompt_id, node_errors }) => {
        queued.set(prompt_id, whose);
        if (queued.size > MOST) queued.delete(queued.keys().next().value);
        refused(node_errors);
      },
      (error) => refused(error.response?.node_errors),
    );
    return answer;
  };
}

/**
 * Whether a node is one that was queued. Its workflow may have been loaded anew since, by an undo;
 * and while another one is being loaded, nodes of that one are there already.
 */
function isFrom({ workflow, nodes }, id, node) {
  const then = nodes.get(id);
  return then?.node === node || (workflow === openWorkflow() && then?.about === inputs(node));
}

const openWorkflow = () => app.extensionManager.workflow?.activeWorkflow;

/** The host's account of what is wrong with a node's inputs, as sentences. */
function sentences(errors) {
  const found = errors.map(({ type, message, details }) =>
    // Ours come behind the name of an input, once for each that was looked at.
    type === "custom_validation_failed" && details?.includes(" - ")
      ? details.slice(details.indexOf(" - ") + 3)
      : [message, details].filter(Boolean).join(": "),
  );
  return [...new Set(found)].join("\n");
}

/** A number that changes with the values of a node and of all nodes that it depends on. */
function inputs(node) {
  let sum = 5381;
  for (const character of JSON.stringify(described(node, new Set()))) {
    sum = ((sum * 33) ^ character.codePointAt(0)) >>> 0;
  }
  return sum;
}

function described(node, seen) {
  if (seen.has(node)) return null;
  seen.add(node);
  const typed = (node.widgets ?? []).filter(
    (widget) => widget.serialize !== false && widget.options?.serialize !== false,
  );
  const sources = (node.inputs ?? []).map((_, slot) => node.getInputNode(slot));
  return [
    node.type,
    node.mode,
    typed.map((widget) => String(widget.value)),
    sources.map((source) => source && described(source, seen)),
  ];
}

const place = (graph, id) => `${graph} ${id}`;

/** @returns {Record<string, {text: string, kind: any, about: number}>} */
function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function keep(graph, id, last) {
  const kept = read();
  const known = place(graph, id) in kept;
  if (!last && !known) return;
  delete kept[place(graph, id)];
  const all = [...Object.entries(kept), ...(last ? [[place(graph, id), last]] : [])];
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(all.slice(-MOST))));
  } catch {
    // The browser keeps nothing, or no more: it is said, and not said again after a reload.
  }
}
