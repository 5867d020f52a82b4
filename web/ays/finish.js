/** The button "Finish now" of the nodes that measure. */

import { finish } from "./routes.js";
import { t } from "./strings.js";
import { attempt, say } from "./toast.js";
import { addButton } from "./widgets.js";

/** @param {any} node */
export function addFinishButton(node) {
  addButton(node, t("finishNow"), t("finishTip"), () => attempt(finishNow));
}

async function finishNow() {
  say("info", t((await finish()) ? "finishing" : "nothingRuns"));
}
