/** Short notes at the corner: something was done, or could not be. */

import { errorText } from "../api.js";
import { h } from "./dom.js";

const SHOWN_MS = 6000;

/**
 * @param {string} text
 * @param {"" | "bad"} [kind]
 */
export function toast(text, kind = "") {
  let box = document.querySelector(".toasts");
  if (!box) {
    box = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(box);
  }
  const note = h("div", { class: `toast ${kind}` }, text);
  box.append(note);
  setTimeout(() => note.remove(), SHOWN_MS);
}

/**
 * Show an error, unless the page has been left or the error is the last one again.
 * @param {unknown} error
 * @param {AbortSignal} [signal] aborted once the page is left
 * @param {string} [last]
 * @returns {string} the error's text
 */
export function toastError(error, signal, last = "") {
  const text = signal?.aborted ? "" : errorText(error);
  if (text && text !== last) toast(text, "bad");
  return text || last;
}

/** Do something, and show the error that it ends with. @param {Promise<unknown>} work */
export async function orToast(work) {
  await work.catch((error) => toastError(error));
}
