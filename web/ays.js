/**
 * The page extension of Align Your Steps: buttons, what nodes say,
 * levels that travel with the workflow, and a sidebar tab with the saved schedules.
 *
 * The host imports this file, and every other .js file below web/, as a module of its own: only
 * this one does anything when it is imported.
 */

import { app } from "../../scripts/app.js";
import { carryInstances, carryLevels } from "./ays/carried.js";
import { addFinishButton } from "./ays/finish.js";
import { noteOffered } from "./ays/nodes.js";
import { takeAsTyped } from "./ays/numbers.js";
import { addPairs, noteChoices } from "./ays/pairs.js";
import { schedulesTab } from "./ays/panel.js";
import { showOutputs } from "./ays/preview.js";
import { makeRoom } from "./ays/room.js";
import { refresh } from "./ays/saved.js";
import { listen, sayAgain } from "./ays/said.js";
import { loadStrings } from "./ays/strings.js";
import { addText, styleTexts } from "./ays/text.js";

const MEASURING = new Set(["AYSOptimize", "AYSCompare"]);
const CARRYING = new Set(["AYSScheduler", "AYSApply", "AYSOptimize"]);
const OURS = new Set([...CARRYING, "AYSCompare", "AYSMergeProfiles", "AYSPlot"]);

const isOurs = (node) => OURS.has(node.comfyClass);

app.registerExtension({
  name: "alignyoursteps.page",

  /** Before any node is made: a button's name is a text in the user's language. */
  init: loadStrings,

  setup() {
    app.extensionManager.registerSidebarTab(schedulesTab());
    showOutputs(isOurs);
    styleTexts();
    listen(isOurs);
    carryInstances((node) => CARRYING.has(node.comfyClass));
  },

  afterConfigureGraph() {
    sayAgain(isOurs);
  },

  beforeRegisterNodeDef(_nodeType, definition) {
    noteOffered(definition);
    noteChoices(definition);
  },

  nodeCreated(node) {
    if (!isOurs(node)) return;
    makeRoom(node);
    takeAsTyped(node);
    if (node.comfyClass === "AYSCompare") addPairs(node);
    if (MEASURING.has(node.comfyClass)) addFinishButton(node);
    if (CARRYING.has(node.comfyClass)) carryLevels(node, refresh);
    addText(node);
  },
});
