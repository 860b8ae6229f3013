/** Texts for the clipboard. */

import { strings } from "../strings.js";
import { openDialog } from "./dialog.js";
import { h } from "./dom.js";
import { toast } from "./toast.js";

/** Copy the text of an element or a field; select it where the browser refuses. @param {HTMLElement} element */
export async function copy(element) {
  const field = element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement ? element : null;
  try {
    await navigator.clipboard.writeText(field ? field.value : (element.textContent ?? ""));
    toast(strings.copied);
  } catch {
    // Browsers refuse it to pages that come by plain HTTP from another machine.
    if (field) field.select();
    else getSelection()?.selectAllChildren(element);
    toast(strings.notCopied, "bad");
  }
}

/** Show a text in a dialog, to be copied. @param {string} title @param {string} help @param {string} text */
export function showText(title, help, text) {
  const field = h("input", { class: "mono", readOnly: true, value: text, "aria-label": title });
  const dialog = openDialog(title, help && h("p", {}, help), field, h("div", { class: "row" },
    h("button", { type: "button", class: "primary", onclick: () => void copy(field) }, strings.copy),
    h("button", { type: "button", onclick: () => dialog.close() }, strings.close)));
  field.select();
}
