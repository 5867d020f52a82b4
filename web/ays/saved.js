/** The list of saved schedules, as the server has it now. */

import { refreshDropDowns } from "./nodes.js";
import * as routes from "./routes.js";
import { attempt } from "./toast.js";

/** @type {((schedules: routes.Schedule[]) => void) | null} */
let shown = null;
let asked = 0; // how often the list was asked for

/** @param {((schedules: routes.Schedule[]) => void) | null} show what shows the list, if anything */
export function showWith(show) {
  shown = show;
}

/** Read the list again, for whatever shows it and for the drop-downs of the nodes. */
export function refresh() {
  return attempt(async () => {
    const number = ++asked;
    const schedules = await routes.saved();
    if (number !== asked) return; // asked again since: this answer may be older than the other
    shown?.(schedules);
    await refreshDropDowns(schedules.map((schedule) => schedule.name));
  });
}
