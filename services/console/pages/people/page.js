/** People: who may use the console, and which cameras they may see. */

import { errorText } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { errorNote } from "../parts/messages.js";
import { tabs } from "../parts/tabs.js";
import { showGroups } from "./groups.js";
import { showPeople } from "./people.js";
import { strings } from "./strings.js";

const TABS = { people: showPeople, groups: showGroups };

/** @type {import("../shell.js").Show} */
export async function show(main, route) {
  const chosen = route.parts[0] === "groups" ? "groups" : "people";
  const part = h("div", { class: "stack" });
  fill(main, h("h1", {}, strings.title), tabs("people", Object.keys(TABS), chosen, strings.tabs, strings.tabsLabel), part);
  try {
    await TABS[chosen](part);
  } catch (error) {
    fill(part, errorNote(errorText(error)));
  }
}
