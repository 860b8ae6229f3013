/** What can't be copied by itself. */

import { h } from "../parts/dom.js";
import { strings } from "./strings.js";

/** A link that can't be copied by itself, to be copied by hand. @param {string} text */
export function offer(text) {
  const input = h("input", { value: text, readOnly: true, "aria-label": strings.detail.link });
  const dialog = h("dialog", { "aria-label": strings.detail.link }, h("div", { class: "stack" },
    h("h2", {}, strings.detail.link), input,
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => dialog.close() }, strings.help.close))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  input.select();
}
