/** What is shown once, in a dialog, to be copied. */

import { strings as shared } from "../strings.js";
import { h } from "./dom.js";
import { toast } from "./toast.js";

/**
 * @param {string} title
 * @param {string} help
 * @param {string} secret
 * @param {{copy: string, copied: string, notCopied: string}} texts
 */
export function showOnce(title, help, secret, texts) {
  const field = h("input", { class: "mono", readOnly: true, value: secret, "aria-label": title });
  const copy = h("button", { type: "button", class: "primary", onclick: async () => {
    try {
      await navigator.clipboard.writeText(secret);
      toast(texts.copied);
    } catch {
      field.select();
      toast(texts.notCopied, "bad");
    }
  } }, texts.copy);
  const dialog = h("dialog", { "aria-label": title }, h("div", { class: "stack" }, h("h2", {}, title), h("p", {}, help), field,
    h("div", { class: "row" }, copy, h("button", { type: "button", onclick: () => dialog.close() }, shared.close))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  field.select();
}
