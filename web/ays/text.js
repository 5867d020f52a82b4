/**
 * What a node says, in a widget of our own below its others. The page's own text under a node is
 * taken for markup, is cleared at the end of a run by newer pages, and is not drawn by the first
 * "Nodes 2.0".
 */

import { element } from "./dom.js";
import { t } from "./strings.js";

const NAME = "ays_text";
const MARGIN = 6; // pixels around it
const LINE = 17; // pixels of a line, until the page has measured the text
const FITS = 50; // characters of a line, until then
const HIGHEST = 220; // pixels; longer texts are scrolled
const SETTLED = 300; // ms after which the page has drawn a new node

/** @type {WeakMap<any, {place: HTMLElement, text: HTMLElement, height: number}>} by node */
const texts = new WeakMap();

/** Ask the page for the look of the texts. */
export function styleTexts() {
  const href = new URL("text.css", import.meta.url).href;
  document.head.append(element("link", { rel: "stylesheet", href }));
}

/**
 * Give a node its place for a text.
 *
 * @param {any} node
 */
export function addText(node) {
  const text = element("div", { class: "ays-text", wheel: scrollFirst });
  const place = element("div", { class: "ays-text-place" }, text);
  const shown = { place, text, height: 0 };
  texts.set(node, shown);
  const widget = node.addDOMWidget(NAME, NAME, place, {
    serialize: false,
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: () => shown.height,
    getMaxHeight: () => shown.height,
  });
  // Both: options.serialize keeps it out of the prompt, this one out of the saved workflow.
  widget.serialize = false;
  const { onAdded } = node;
  node.onAdded = function (...values) {
    setTimeout(() => mount(node), SETTLED);
    return onAdded?.apply(this, values);
  };
  // The page tells how high it is when it is drawn, and again when the node gets another width.
  new ResizeObserver(() => text.offsetHeight && fit(node, text.offsetHeight)).observe(text);
}

/**
 * Show a text under a node; none: an empty one.
 *
 * @param {any} node
 * @param {string} said
 * @param {"working" | "done" | "failed"} kind
 */
export function showText(node, said, kind) {
  const shown = texts.get(node);
  if (!shown) return;
  mount(node);
  shown.text.textContent = said; // never markup: names come from files that others made
  shown.text.dataset.kind = kind;
  showOld(node, false);
  const lines = said.split("\n").map((line) => Math.ceil(line.length / FITS) || 1);
  const guess = said ? LINE * lines.reduce((sum, count) => sum + count) : 0;
  fit(node, (said && shown.text.offsetHeight) || Math.min(guess, HIGHEST));
}

/**
 * Show that a text is about other inputs than the node has now.
 *
 * @param {any} node
 * @param {boolean} old
 */
export function showOld(node, old) {
  const { text } = texts.get(node);
  text.classList.toggle("ays-old", old);
  text.title = old ? t("oldText") : "";
}

/**
 * See that a node of "Nodes 2.0" holds its own text: where a workflow is loaded over another one,
 * older pages leave that of the node that had the same id.
 *
 * @param {any} node
 */
function mount(node) {
  const { place } = texts.get(node);
  if (!window.LiteGraph.vueNodesMode || place.isConnected || !node.graph) return;
  const element = `.lg-node[data-node-id="${CSS.escape(node.id)}"]`;
  document.querySelector(`${element} .ays-text-place`)?.replaceWith(place);
}

/**
 * Make room for a text of so many pixels. A node of "Nodes 2.0" grows by itself.
 *
 * @param {any} node
 * @param {number} high
 */
function fit(node, high) {
  const shown = texts.get(node);
  const height = high > 0 ? high + 2 * MARGIN : 0;
  const more = height - shown.height;
  if (more === 0) return;
  shown.height = height;
  if (!window.LiteGraph.vueNodesMode) {
    const [width, before] = node.size;
    node.setSize([width, Math.max(before + more, node.computeSize()[1])]);
  }
  node.setDirtyCanvas(true, true);
}

/** A wheel over a text that has more to show scrolls it, and not the canvas. */
function scrollFirst(event) {
  const { scrollHeight, clientHeight } = event.currentTarget;
  if (scrollHeight > clientHeight) event.stopPropagation();
}
