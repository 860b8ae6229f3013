/** The keys of a page, and the list of them. */

import { strings } from "../strings.js";
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { fact } from "./facts.js";

/**
 * Call what a key stands for, until the function that this returns is called. Whoever writes somewhere, or is asked
 * something in a dialog, writes.
 * @param {Record<string, () => void>} actions by key, such as `j`, `space` and `esc`
 * @returns {() => void}
 */
export function listen(actions) {
  const take = (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const at = /** @type {Element} */ (event.target);
    if (at.closest?.("input, select, textarea, dialog")) return;
    const key = event.key === " " ? "space" : event.key === "Escape" ? "esc" : event.key;
    // These have the key themselves.
    if (key === "space" && at.closest?.("button, summary")) return;
    const action = actions[key];
    if (!action) return;
    event.preventDefault();
    action();
  };
  // Before the video's own controls, which know some of these keys too.
  document.addEventListener("keydown", take, true);
  return () => document.removeEventListener("keydown", take, true);
}

/** Show which keys there are. @param {Record<string, string>} keys with what each does */
export function help(keys) {
  const dialog = openDialog(strings.keys,
    h("dl", { class: "keys" }, Object.entries(keys).map(([key, action]) => fact(h("kbd", {}, key), action))),
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => dialog.close() }, strings.close)));
}

/** The button that shows them. @param {Record<string, string>} keys */
export function keysButton(keys) {
  return h("button", { type: "button", onclick: () => help(keys) }, strings.keys);
}
