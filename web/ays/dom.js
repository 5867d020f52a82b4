/** Elements of the page. Texts become text nodes, never markup: names may come from anywhere. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes] a function listens to the event of its name
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/**
 * A button that shows an icon only.
 *
 * @param {string} icon a PrimeIcons name
 * @param {string} label
 * @param {Record<string, any>} attributes
 * @returns {HTMLElement}
 */
export function iconButton(icon, label, attributes) {
  const picture = element("i", { class: `pi pi-${icon}`, "aria-hidden": "true" });
  const shared = { type: "button", class: "ays-icon", title: label, "aria-label": label };
  return element("button", { ...shared, ...attributes }, picture);
}
