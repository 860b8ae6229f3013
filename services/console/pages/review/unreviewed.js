/** The number of unreviewed incidents, next to the page's name in the navigation. */

import { get } from "../api.js";

const EVERY_MS = 20_000;

/** @param {import("../shell.js").Shell} shell */
export async function countUnreviewed(shell) {
  const tally = await get("incidents/count", { reviewed: false }).catch(() => null);
  if (tally) shell.count("review", tally.unreviewed);
}

/** Now, and then now and again. @param {import("../shell.js").Shell} shell @returns {() => void} what ends it */
export function watchUnreviewed(shell) {
  void countUnreviewed(shell);
  const timer = setInterval(() => void countUnreviewed(shell), EVERY_MS);
  return () => clearInterval(timer);
}
