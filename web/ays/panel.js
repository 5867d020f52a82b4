/** The sidebar tab with the list of saved schedules. */

import { ACTIONS } from "./actions.js";
import { element, iconButton } from "./dom.js";
import { row } from "./row.js";
import { refresh, showWith } from "./saved.js";
import { t } from "./strings.js";
import { attempt } from "./toast.js";

const STYLE = new URL("panel.css", import.meta.url).href;

/** The tab as the host wants it described. */
export function schedulesTab() {
  return {
    id: "ays-schedules",
    icon: "pi pi-chart-line",
    title: t("tabTitle"),
    label: "AYS",
    tooltip: t("tabTip"),
    type: "custom",
    render,
    destroy: () => showWith(null),
  };
}

/** @param {HTMLElement} place */
function render(place) {
  if (place.hasChildNodes()) return; // the host calls again whenever it draws the sidebar
  const list = element("ul", { class: "ays-list", "aria-label": t("tabTitle") });
  const panel = element("section", { class: "ays-panel", tabindex: "-1" }, header(), list);
  acceptDrops(panel);
  acceptPastes(panel);
  place.replaceChildren(element("link", { rel: "stylesheet", href: STYLE }), panel);
  place.style.height = "100%";
  showWith((schedules) => show(list, schedules));
  refresh();
}

function header() {
  const files = element("input", {
    type: "file",
    accept: ".json,.safetensors,.txt",
    multiple: "",
    hidden: "",
    change: async () => {
      await attempt(() => ACTIONS.import(files.files));
      files.value = ""; // the same file may be chosen again
    },
  });
  return element(
    "header",
    { class: "ays-header" },
    element("span", {}, t("tabTitle")),
    iconButton("refresh", t("refresh"), { click: refresh }),
    iconButton("upload", t("import"), { click: () => files.click() }),
    files,
  );
}

/**
 * Files dropped on the panel are imported. The host, which takes a dropped file for a workflow,
 * must not see them.
 *
 * @param {HTMLElement} panel
 */
function acceptDrops(panel) {
  const own = (event) => {
    event.preventDefault();
    event.stopPropagation();
    panel.classList.toggle("ays-over", event.type === "dragover");
  };
  panel.addEventListener("dragover", own);
  panel.addEventListener("dragleave", own);
  panel.addEventListener("drop", (event) => {
    own(event);
    attempt(() => ACTIONS.import(sent(event.dataTransfer)));
  });
}

/**
 * What is pasted while the panel was clicked last is imported: files, or levels as text. The host
 * would look for nodes in it.
 *
 * @param {HTMLElement} panel
 */
function acceptPastes(panel) {
  panel.addEventListener("paste", (event) => {
    event.preventDefault();
    event.stopPropagation();
    attempt(() => ACTIONS.import(sent(event.clipboardData)));
  });
}

/**
 * @param {DataTransfer} data
 * @returns {File[]} the files, or the text as one
 */
function sent(data) {
  const text = data.getData("text/plain");
  if (data.files.length > 0 || !text.trim()) return [...data.files];
  return [new File([text], `${t("pasted")}.txt`)];
}

/**
 * @param {HTMLElement} list
 * @param {import("./routes.js").Schedule[]} schedules
 */
function show(list, schedules) {
  const focused = focusOf(document.activeElement);
  const rows = schedules.map(row);
  list.replaceChildren(...(rows.length ? rows : [element("li", { class: "ays-empty" }, t("empty"))]));
  if (focused) list.querySelector(focused)?.focus();
}

/**
 * @param {Element | null} active
 * @returns {string | null} a selector that finds a button of the list again when it is made anew
 */
function focusOf(active) {
  const digest = active?.closest(".ays-row")?.dataset.digest;
  const action = active?.dataset?.action;
  if (digest === undefined || action === undefined) return null;
  return `[data-digest="${CSS.escape(digest)}"] [data-action="${CSS.escape(action)}"]`;
}
