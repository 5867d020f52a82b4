/** Texts in the user's language, from locales/<language>/main.json. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { keepNodeTexts } from "./node_texts.js";

/** @type {Record<string, Record<string, string>>} */
const strings = {};

/** Ask the host for the texts of all languages. */
export async function loadStrings() {
  const answer = await api.fetchApi("/i18n");
  const offered = await answer.json();
  for (const [language, texts] of Object.entries(offered)) {
    if (texts.alignYourSteps) strings[language] = texts.alignYourSteps;
  }
  keepNodeTexts(offered);
}

/** @returns {string} the host's language, as in "en" */
export function language() {
  return app.extensionManager.setting.get("Comfy.Locale") ?? "en";
}

/**
 * A text in the host's language, in English where that language has none.
 *
 * @param {string} key
 * @param {Record<string, unknown>} [values] what replaces {placeholders}
 * @returns {string}
 */
export function t(key, values = {}) {
  const text = strings[language()]?.[key] ?? strings.en?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (placeholder, name) => String(values[name] ?? placeholder));
}
