/** What can be done with saved schedules. */

import { app } from "../../../scripts/app.js";
import { choose } from "./carried.js";
import { meant, renameInNodes } from "./nodes.js";
import * as routes from "./routes.js";
import { refresh } from "./saved.js";
import { t } from "./strings.js";
import { say } from "./toast.js";

export const ACTIONS = { use, rename, delete: remove, export: save, copy, import: importFiles };

/** @param {string} name */
function use(name) {
  const nodes = meant();
  for (const node of nodes) choose(node, name);
  if (nodes.length === 0) say("warn", t("selectNode"));
  else say("success", t("used", { name, node: nodes.map((node) => node.title).join(", ") }));
}

/** @param {string} name */
async function rename(name) {
  const question = { title: t("rename"), message: t("newName"), defaultValue: name };
  const wanted = (await app.extensionManager.dialog.prompt(question))?.trim();
  if (!wanted || wanted === name) return;
  const newName = await routes.rename(name, wanted);
  await refresh();
  renameInNodes(name, newName);
}

/** @param {string} name */
async function remove(name) {
  const question = { title: t("delete"), message: t("deleteQuestion"), itemList: [name] };
  if (!(await app.extensionManager.dialog.confirm({ ...question, type: "delete" }))) return;
  await routes.remove(name);
  await refresh();
}

/**
 * @param {string} name
 * @param {string} format
 */
async function save(name, format) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await routes.exported(name, format));
  link.download = `${name}.${format}`;
  link.click();
  URL.revokeObjectURL(link.href);
}

/**
 * @param {string} name
 * @param {string} tool
 */
async function copy(name, tool) {
  const { text, hint } = await routes.textFor(name, tool);
  await writeClipboard(text);
  say("success", t("copied", { hint }));
}

/** @param {string} text */
async function writeClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // A page that came over http from another machine has no clipboard but this old one.
  const area = document.createElement("textarea");
  area.value = text;
  const panel = document.querySelector(".ays-panel");
  panel.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** @param {Iterable<File>} files */
async function importFiles(files) {
  try {
    for (const file of files) {
      const added = await routes.importFile(file);
      if (added.new) say("success", t("imported", { name: added.name }));
      else say("info", t("alreadyHere", { name: added.name }));
    }
  } finally {
    await refresh();
  }
}
