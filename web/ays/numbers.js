/**
 * Numbers as they are typed. The page rounds a number to the steps of its arrows: without this, half
 * a minute becomes none, which is no limit, and a budget of 10 becomes 0.
 */

/** @param {any} node */
export function takeAsTyped(node) {
  for (const widget of node.widgets ?? []) {
    if (widget.type === "number") exactly(widget);
  }
}

/** @param {any} widget that takes as many digits as its declaration rounds to */
function exactly(widget) {
  const { options } = widget;
  if (!(options.round > 0) && options.precision !== 0) return; // a user who wants no rounding
  const digits = options.round > 0 ? Math.max(0, Math.round(-Math.log10(options.round))) : 0;
  options.precision = digits;
  options.maxFractionDigits = digits; // Nodes 2.0 of older pages overlook the point without it
  widget.callback = (value) => {
    const { min, max } = options;
    widget.value = Math.min(Math.max(Number(Number(value).toFixed(digits)), min), max);
  };
}
