/** System: whether all is well, streams, dead letters, what people changed, and versions. A tab each. */

import { errorText } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { errorNote } from "../parts/messages.js";
import { tabs } from "../parts/tabs.js";
import { strings } from "./strings.js";

/**
 * A tab fills its part of the page, and gives what ends it.
 * @typedef {(part: HTMLElement, route: import("../router.js").Route, shell: import("../shell.js").Shell) => Promise<void | (() => void)>} Tab
 */

/** Who may see each, in their order. @type {Record<string, string>} */
const ROLES = { health: "operator", streams: "viewer", letters: "admin", audit: "admin", versions: "viewer" };

/** @type {import("../shell.js").Show} */
export async function show(main, route, shell) {
  const tabNames = Object.keys(ROLES).filter((tab) => shell.may(/** @type {string} */ (ROLES[tab])));
  const chosen = tabNames.includes(route.parts[0] ?? "") ? /** @type {string} */ (route.parts[0]) : /** @type {string} */ (tabNames[0]);
  const part = h("div", { class: "stack" });
  fill(main, h("h1", {}, strings.title), tabs("system", tabNames, chosen, strings.tabs, strings.tabsLabel), part);
  try {
    const { tab } = /** @type {{tab: Tab}} */ (await import(`./${chosen}.js`));
    return await tab(part, route, shell);
  } catch (error) {
    fill(part, errorNote(errorText(error)));
  }
}
