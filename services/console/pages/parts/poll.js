/** What is asked again and again for as long as somebody looks, and never twice at once. */

import { errorText } from "../api.js";
import { toast } from "./toast.js";

/**
 * Call `ask` now, and again so many milliseconds after each answer. Where the first one fails, so does this.
 * @param {(signal: AbortSignal) => Promise<void>} ask
 * @param {number} ms
 * @returns {Promise<() => void>} what ends it
 */
export async function poll(ask, ms) {
  const ended = new AbortController();
  let lastError = "";
  await ask(ended.signal);
  const next = async () => {
    if (ended.signal.aborted) return;
    if (!document.hidden) {
      try {
        await ask(ended.signal);
        lastError = "";
      } catch (error) {
        // What fails each time is said once.
        const text = ended.signal.aborted ? "" : errorText(error);
        if (text && text !== lastError) toast(text, "bad");
        lastError = text || lastError;
      }
    }
    timer = setTimeout(next, ms);
  };
  let timer = setTimeout(next, ms);
  return () => {
    ended.abort();
    clearTimeout(timer);
  };
}
