/**
 * Levels that travel with the workflow: the schedule that a run has used is kept in the node's
 * properties, which every copy, file and picture of the workflow holds.
 */

const PROPERTY = "ays_schedule";

/**
 * @param {any} node
 * @param {() => void} optimised called when the node has made a new schedule
 */
export function carryLevels(node, optimised) {
  before(node, "onExecuted", (output) => {
    const [schedule] = output?.[PROPERTY] ?? [];
    if (schedule) node.properties[PROPERTY] = schedule;
    if (node.comfyClass === "AYSOptimize") optimised();
  });

  const widget = scheduleWidget(node);
  if (!widget) return;
  // A linked primitive calls back at every run, with the value that was there already.
  let chosen = widget.value;
  before(node, "onConfigure", () => (chosen = widget.value));
  before(widget, "callback", (value) => {
    if (value !== chosen) delete node.properties[PROPERTY];
    chosen = value;
  });
}

/**
 * Put the schedule's new name where the old one was chosen: it stays the same schedule.
 *
 * @param {any} node
 * @param {string} name
 */
export function keepUnderName(node, name) {
  const schedule = node.properties[PROPERTY];
  choose(node, name);
  if (schedule) node.properties[PROPERTY] = { ...schedule, name };
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
