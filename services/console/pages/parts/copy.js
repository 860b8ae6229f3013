/** A text that is shown, into the clipboard. */

import { toast } from "./toast.js";

/** @param {HTMLElement} element @param {{copied: string, notCopied: string}} said */
export async function copy(element, said) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    toast(said.copied);
  } catch {
    // Pages that come by plain HTTP from elsewhere may not.
    getSelection()?.selectAllChildren(element);
    toast(said.notCopied);
  }
}
