/** What Compare Schedules compares, chosen instead of typed: two drop-downs and a button. */

import { t } from "./strings.js";

/** @type {string[]} what a schedule can be, as the nodes' own drop-downs say */
let schedulers = [];
/** @type {string[]} */
let samplers = [];
/** @type {string[]} */
let saved = [];

/** @param {any} definition of a node, as the host describes it */
export function noteChoices(definition) {
  const { required } = definition.input;
  if (definition.name === "KSampler") {
    samplers = choices(required.sampler_name);
    schedulers = choices(required.scheduler);
  }
  if (definition.name === "AYSScheduler") saved = choices(required.schedule);
}

/**
 * @param {any} input of a node's definition
 * @returns {string[]} what its drop-down offers
 */
function choices([type, options]) {
  return Array.isArray(type) ? type : options.options;
}

/** @param {any} node */
export function addPairs(node) {
  const list = node.widgets?.find((widget) => widget.name === "schedules");
  if (!list) return;
  const alone = t("pairAlone");
  const sampler = drop(node, t("pairSampler"), () => [alone, ...samplers]);
  const schedule = drop(node, t("pairSchedule"), () => [...new Set([...schedulers, ...saved])]);
  const press = () => {
    const name = sampler.value === alone ? schedule.value : `${sampler.value} ${schedule.value}`;
    const text = list.value.trim().replace(/,$/, "");
    list.value = text + (text.includes("\n") ? "\n" : ", ").repeat(text ? 1 : 0) + name;
    list.callback?.(list.value);
    node.setDirtyCanvas(true, true);
  };
  const button = node.addWidget("button", t("pairAdd"), null, press, {
    serialize: false,
    // For Nodes 2.0 of older pages, which would paint it like the page's main button.
    severity: "secondary",
    outlined: true,
  });
  button.serialize = false;
  button.tooltip = t("pairTip");
}

/**
 * A drop-down of the page alone: neither prompt nor saved workflow has it.
 *
 * @param {any} node
 * @param {string} name
 * @param {() => string[]} offered
 */
function drop(node, name, offered) {
  const options = { values: offered(), serialize: false };
  const widget = node.addWidget("combo", name, options.values[0], () => {}, options);
  widget.serialize = false;
  widget.tooltip = t("pairTip");
  return widget;
}
