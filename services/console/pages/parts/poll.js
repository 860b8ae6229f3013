/** Requests that repeat while the page is visible, never two at the same time. */

import { toastError } from "./toast.js";

/**
 * Call `load` now, and again this many milliseconds after each answer. If the first one fails, this fails too; a later
 * error is shown once until it changes.
 * @param {(signal: AbortSignal) => Promise<void>} load
 * @param {number} ms
 * @returns {Promise<() => void>} what ends it
 */
export async function poll(load, ms) {
  const ended = new AbortController();
  let lastError = "";
  await load(ended.signal);
  void repeat(() => load(ended.signal).then(() => (lastError = ""), (error) => (lastError = toastError(error, ended.signal, lastError))), ms, ended.signal);
  return () => ended.abort();
}

/**
 * Call `act` this many milliseconds from now, and again after each time that it is done. Nothing happens while the page
 * is hidden.
 * @param {() => unknown} act
 * @param {number} ms
 * @param {AbortSignal} signal ends it
 */
export async function repeat(act, ms, signal) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, ms));
    if (signal.aborted) return;
    if (!document.hidden) await act();
  }
}
