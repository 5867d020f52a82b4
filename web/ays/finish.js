/** The button "Finish now" of the nodes that measure. */

import { finish } from "./routes.js";
import { t } from "./strings.js";
import { attempt, say } from "./toast.js";

/** @param {any} node */
export function addFinishButton(node) {
  const press = () => attempt(finishNow);
  const button = node.addWidget("button", t("finishNow"), null, press, {
    serialize: false,
    // For Nodes 2.0 of older pages, which would paint it like the page's main button.
    severity: "secondary",
    outlined: true,
  });
  // Both: options.serialize keeps it out of the prompt, this one out of the saved workflow.
  button.serialize = false;
  button.tooltip = t("finishTip");
}

async function finishNow() {
  say("info", t((await finish()) ? "finishing" : "nothingRuns"));
}
