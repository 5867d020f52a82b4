/** The list of saved schedules, as the server has it now. */

import { refreshDropDowns } from "./nodes.js";
import * as routes from "./routes.js";
import { attempt } from "./toast.js";

/** @type {((schedules: routes.Schedule[]) => void) | null} */
let shown = null;

/** @param {((schedules: routes.Schedule[]) => void) | null} show what shows the list, if anything */
export function showWith(show) {
  shown = show;
}

/** Read the list again, for whatever shows it and for the drop-downs of the nodes. */
export function refresh() {
  return attempt(async () => {
    const schedules = await routes.saved();
    shown?.(schedules);
    await refreshDropDowns(schedules.map((schedule) => schedule.name));
  });
}
