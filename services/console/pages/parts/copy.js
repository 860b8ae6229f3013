/** A text that is shown, into the clipboard. */

import { toast } from "./toast.js";

/** @param {HTMLElement} element @param {{copied: string, notCopied: string}} texts */
export async function copy(element, texts) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    toast(texts.copied);
  } catch {
    // Pages that come by plain HTTP from elsewhere may not.
    getSelection()?.selectAllChildren(element);
    toast(texts.notCopied);
  }
}
