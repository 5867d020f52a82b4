/** What Compare Schedules compares, chosen instead of typed: two drop-downs and a button. */

import { choices } from "./nodes.js";
import { t } from "./strings.js";
import { addButton, addDropDown } from "./widgets.js";

// What can be chosen, in lists that the drop-downs hold on to.
/** @type {string[]} */
const samplers = [];
/** @type {string[]} */
const schedules = [];
/** @type {Record<string, string[]>} by the node whose drop-down offers them */
const offered = { KSampler: [], AYSScheduler: [] };

/** @param {any} definition of a node, as the host describes it */
export function noteChoices(definition) {
  if (definition.name === "KSampler") {
    fill(samplers, [t("pairAlone"), ...choices(definition, "sampler_name")]);
    offered.KSampler = choices(definition, "scheduler");
  } else if (definition.name === "AYSScheduler") {
    offered.AYSScheduler = choices(definition, "schedule");
  } else return;
  fill(schedules, new Set(Object.values(offered).flat()));
}

/**
 * @param {string[]} list
 * @param {Iterable<string>} values
 */
function fill(list, values) {
  list.splice(0, list.length, ...values);
}

/** @param {any} node */
export function addPairs(node) {
  const list = node.widgets?.find((widget) => widget.name === "schedules");
  if (!list) return;
  const tip = t("pairTip");
  const sampler = addDropDown(node, t("pairSampler"), tip, samplers);
  const schedule = addDropDown(node, t("pairSchedule"), tip, schedules);
  addButton(node, t("pairAdd"), tip, () => {
    const alone = sampler.value === samplers[0];
    const name = alone ? schedule.value : `${sampler.value} ${schedule.value}`;
    const text = list.value.trim().replace(/,$/, "");
    list.value = text + (text.includes("\n") ? "\n" : ", ").repeat(text ? 1 : 0) + name;
    list.callback?.(list.value);
    node.setDirtyCanvas(true, true);
  });
}
