/** Links to the parts of a page, of which one is shown. */

import { to } from "../router.js";
import { h } from "./dom.js";

/**
 * @param {string} page
 * @param {string[]} names
 * @param {string} chosen
 * @param {Record<string, string>} texts
 * @param {string} label
 */
export function tabs(page, names, chosen, texts, label) {
  return h("nav", { class: "tabs", "aria-label": label }, names.map((name) =>
    h("a", { href: to(page, [name]), "aria-current": name === chosen ? "page" : null }, texts[name])));
}
