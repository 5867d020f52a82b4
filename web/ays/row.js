/** One saved schedule in the list: its curve, how it came about, what can be done with it. */

import { ACTIONS } from "./actions.js";
import { curve } from "./curve.js";
import { element, iconButton } from "./dom.js";
import { language, t } from "./strings.js";
import { attempt } from "./toast.js";

const TOOLS = { comfyui: "ComfyUI", diffusers: "diffusers", a1111: "A1111" };
const FORMATS = { json: "JSON", safetensors: "safetensors" };

/**
 * @param {import("./routes.js").Schedule} schedule
 * @returns {HTMLElement}
 */
export function row(schedule) {
  const levels = schedule.sigmas.map((sigma) => Number(sigma.toPrecision(4))).join(", ");
  return element(
    "li",
    { class: "ays-row", "data-digest": schedule.digest },
    element("div", { class: "ays-curve", title: levels }, curve(schedule.sigmas)),
    element(
      "div",
      { class: "ays-about" },
      element("div", { class: "ays-name", title: schedule.name }, schedule.name),
      element("div", { class: "ays-facts", title: origin(schedule) }, ...facts(schedule)),
      actions(schedule),
    ),
  );
}

/** @param {import("./routes.js").Schedule} schedule */
function facts({ model, steps, calibrated, sampler, cfg, denoise, error, when }) {
  const known = [
    t("steps", { steps }),
    sampler,
    calibrated.length > 0 && t("calibrated", { steps: calibrated.join(", ") }),
    cfg !== null && t("cfg", { cfg }),
    denoise !== null && denoise < 1 && t("denoise", { denoise }),
    error !== null && t("error", { error: Number(error.toPrecision(3)) }),
    day(when),
  ];
  const lines = [model !== null && t("measuredOn", { model }), known.filter(Boolean).join(" · ")];
  return lines.filter(Boolean).map((line) => element("div", {}, line));
}

/** @param {string | null} when of an imported schedule it may be any text */
function day(when) {
  const date = new Date(when ?? "");
  return !isNaN(date.getTime()) && date.toLocaleDateString(language(), { dateStyle: "medium" });
}

/** @param {import("./routes.js").Schedule} schedule */
function origin({ who, what, when, file }) {
  return [what, who, when, file].filter(Boolean).join("\n");
}

/** @param {import("./routes.js").Schedule} schedule */
function actions(schedule) {
  const { name } = schedule;
  const copy = (tool) => ACTIONS.copy(name, tool);
  const save = (format) => ACTIONS.export(name, format);
  const own = [
    iconButton("pencil", t("rename"), doing("rename", () => ACTIONS.rename(name))),
    iconButton("trash", t("delete"), doing("delete", () => ACTIONS.delete(name))),
  ];
  return element(
    "div",
    { class: "ays-actions" },
    element(
      "button",
      { class: "ays-use", title: t("useTip"), ...doing("use", () => ACTIONS.use(name)) },
      t("use"),
    ),
    ...menu("copy", t("copy"), TOOLS, copy),
    ...menu("download", t("export"), FORMATS, save),
    ...(schedule.writable ? own : []),
  );
}

/**
 * @param {string} action
 * @param {() => unknown} act
 */
function doing(action, act) {
  return { type: "button", "data-action": action, click: () => attempt(act) };
}

/**
 * A button that opens a choice; a click elsewhere closes it.
 *
 * @param {string} icon
 * @param {string} label
 * @param {Record<string, string>} choices what is passed on: what is shown
 * @param {(choice: string) => unknown} act
 * @returns {HTMLElement[]} the button and what it opens
 */
function menu(icon, label, choices, act) {
  const close = () => {
    opened.hidePopover();
    button.focus();
  };
  const choose = (choice) => {
    close();
    return act(choice);
  };
  const escape = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation(); // the host has another use for it
    close();
  };
  const buttons = Object.entries(choices).map(([choice, shown]) =>
    element("button", doing(choice, () => choose(choice)), shown),
  );
  const place = () => {
    const { left, bottom } = button.getBoundingClientRect();
    Object.assign(opened.style, { left: `${left}px`, top: `${bottom}px` });
  };
  const attributes = { popover: "", class: "ays-menu", role: "group", "aria-label": label };
  const listeners = { beforetoggle: place, keydown: escape };
  const opened = element("div", { ...attributes, ...listeners }, ...buttons);
  const button = iconButton(icon, label, { "data-action": icon });
  button.popoverTargetElement = opened;
  return [button, opened];
}
