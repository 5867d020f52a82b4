/**
 * What the server does with saved schedules. Every function throws an Error whose message is the
 * server's sentence for the user.
 */

import { api } from "../../../scripts/api.js";
import { t } from "./strings.js";

/**
 * @typedef {object} Schedule
 * @property {string} name
 * @property {string} digest the same after renaming
 * @property {number} steps
 * @property {number[]} calibrated numbers of steps that it has a calibrated sampler for
 * @property {number[]} sigmas steps + 1 levels, the last 0
 * @property {string | null} model what it was loaded from
 * @property {string | null} sampler
 * @property {number | null} cfg
 * @property {number | null} denoise
 * @property {number | null} error
 * @property {string | null} who
 * @property {string | null} what
 * @property {string | null} when
 * @property {string | null} file
 * @property {boolean} writable
 */

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function ask(path, options) {
  let answer;
  try {
    answer = await api.fetchApi(`/ays${path}`, options);
  } catch {
    throw new Error(t("noAnswer"));
  }
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({}));
    throw new Error(error ?? t("noAnswer"));
  }
  return answer;
}

/**
 * @param {string} path
 * @param {BodyInit} [body]
 */
async function post(path, body) {
  return (await ask(path, { method: "POST", body })).json();
}

/** @param {Record<string, string>} values */
const query = (values) => new URLSearchParams(values).toString();

/** @returns {Promise<Schedule[]>} */
export async function saved() {
  return (await (await ask("/schedules")).json()).schedules;
}

/** @returns {Promise<boolean>} whether something was being measured */
export async function finish() {
  return (await post("/finish")).finishing;
}

/**
 * @param {string} name
 * @param {string} newName
 * @returns {Promise<string>} the name under which it is listed now
 */
export async function rename(name, newName) {
  return (await post("/schedules/rename", JSON.stringify({ name, new_name: newName }))).name;
}

/** @param {string} name */
export async function remove(name) {
  await post("/schedules/delete", JSON.stringify({ name }));
}

/**
 * @param {File} file
 * @returns {Promise<{name: string, new: boolean}>} the name under which it is listed, and whether
 *     it was not here before
 */
export async function importFile(file) {
  return post(`/schedules/import?${query({ filename: file.name })}`, file);
}

/**
 * @param {string} name
 * @param {string} format "json" or "safetensors"
 * @returns {Promise<Blob>}
 */
export async function exported(name, format) {
  return (await ask(`/schedules/export?${query({ name, format })}`)).blob();
}

/**
 * @param {string} name
 * @param {string} tool "comfyui", "diffusers" or "a1111"
 * @returns {Promise<{text: string, hint: string}>} the levels as that tool wants them, and where
 *     they go there
 */
export async function textFor(name, tool) {
  return (await ask(`/schedules/text?${query({ name, for: tool })}`)).json();
}
