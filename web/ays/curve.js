/** A small picture of noise levels over steps. */

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 72;
const HEIGHT = 44;
const MARGIN = 4;

/**
 * The levels on a logarithmic axis, from high to low; the final 0 has no place on it.
 *
 * @param {number[]} sigmas
 * @returns {SVGElement}
 */
export function curve(sigmas) {
  const logs = sigmas.filter((sigma) => sigma > 0).map(Math.log);
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const points = logs.map((log, step) => [
    MARGIN + ((WIDTH - 2 * MARGIN) * step) / Math.max(logs.length - 1, 1),
    MARGIN + ((HEIGHT - 2 * MARGIN) * (high - log)) / (high - low || 1),
  ]);
  const picture = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
  picture.append(shape("polyline", { points: points.join(" ") }));
  if (points.length <= 20) {
    picture.append(...points.map(([cx, cy]) => shape("circle", { cx, cy, r: 1.6 })));
  }
  return picture;
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @returns {SVGElement}
 */
function shape(tag, attributes) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}
