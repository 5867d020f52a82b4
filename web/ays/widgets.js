/** Widgets of the page alone: neither prompt nor saved workflow has them. */

/**
 * @param {any} node
 * @param {string} name
 * @param {string} tip
 * @param {() => void} press
 */
export function addButton(node, name, tip, press) {
  const button = node.addWidget("button", name, null, press, {
    serialize: false,
    // For Nodes 2.0 of older pages, which would paint it like the page's main button.
    severity: "secondary",
    outlined: true,
  });
  return ofThePage(button, tip);
}

/**
 * @param {any} node
 * @param {string} name
 * @param {string} tip
 * @param {string[]} values the page holds on to this very list
 */
export function addDropDown(node, name, tip, values) {
  const options = { values, serialize: false };
  return ofThePage(node.addWidget("combo", name, values[0], () => {}, options), tip);
}

function ofThePage(widget, tip) {
  // Both: options.serialize keeps it out of the prompt, this one out of the saved workflow.
  widget.serialize = false;
  widget.tooltip = tip;
  return widget;
}
