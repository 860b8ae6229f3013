/** What the keyboard does on a page, and the list of it. */

import { h } from "./dom.js";

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

/** Show which keys there are. @param {{title: string, close: string, keys: Record<string, string>}} texts what each does */
export function help(texts) {
  const close = h("button", { type: "button", onclick: () => dialog.close() }, texts.close);
  const dialog = h("dialog", { "aria-label": texts.title }, h("div", { class: "stack" },
    h("h2", {}, texts.title),
    h("dl", { class: "keys" }, Object.entries(texts.keys).map(([key, action]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, action)))),
    h("div", { class: "row" }, close)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
