/** Short messages in the corner of the page. */

import { app } from "../../../scripts/app.js";

const SECONDS = { success: 4, info: 4, warn: 6, error: 10 };
const READ = 15; // characters a second

/**
 * @param {"success" | "info" | "warn" | "error"} severity
 * @param {string} detail one sentence
 */
export function say(severity, detail) {
  const life = 1000 * Math.max(SECONDS[severity], detail.length / READ);
  app.extensionManager.toast.add({ severity, summary: "Align Your Steps", detail, life });
}

/**
 * Do what a click asks for; what goes wrong is said.
 *
 * @param {() => unknown} action
 */
export async function attempt(action) {
  try {
    await action();
  } catch (error) {
    say("error", error.message);
  }
}
