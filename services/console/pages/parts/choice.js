/** Some of many: a list of boxes to tick, with a field to find them by. */

import { fill, h } from "./dom.js";

// With fewer there is nothing to find.
const MANY = 8;

/**
 * @param {string} legend
 * @param {string[]} all
 * @param {Iterable<string>} chosen
 * @param {{find: string, none: string, hint?: string}} texts
 */
export function choice(legend, all, chosen, texts) {
  const ticked = new Set(chosen);
  // A chosen name that no longer exists can be removed, too.
  const every = [...new Set([...all, ...ticked])].sort();
  const list = h("ul", {});
  const find = h("input", { type: "search", "aria-label": texts.find, placeholder: texts.find, hidden: every.length < MANY });
  const show = () => fill(list, every.filter((one) => one.toLowerCase().includes(find.value.toLowerCase())).map(box));
  const box = (/** @type {string} */ one) => {
    const input = h("input", { type: "checkbox", checked: ticked.has(one) });
    input.addEventListener("change", () => (input.checked ? ticked.add(one) : ticked.delete(one)));
    return h("li", {}, h("label", {}, input, one));
  };
  find.addEventListener("input", show);
  show();
  const element = h("fieldset", { class: "choice" }, h("legend", {}, legend), texts.hint ? h("p", { class: "small muted" }, texts.hint) : null,
    find, every.length ? list : h("p", { class: "small muted" }, texts.none));
  return { element, chosen: () => [...ticked].sort() };
}
