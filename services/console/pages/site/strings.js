/** The texts of the page Site. */

import { count } from "../parts/format.js";

export const strings = {
  title: "Site",
  help: "Cameras, groups, rules and recording policies, as one file. Variables such as ${SITE_LOBBY_PASSWORD} stand for passwords.",
  readers: "Readers are not in this file: tidegate apply adds and removes them.",
  needsAdmin: "Changing the site needs the role admin.",
  file: "Site file",
  runs: "What runs",
  hint: "YAML or JSON. Passwords stay as they are. A new camera with a password needs the camera's form, or tidegate apply.",
  copy: "Copy",
  download: "Download",
  upload: "Upload",
  uploadLabel: "Upload a site file",
  reset: "Back to what runs",
  resetAsk: "Discard your changes to the text, and show what runs?",
  tooLong: "This file is longer than 1 MB, the most that the console takes: use tidegate apply.",
  compare: "Compare",
  comparing: "Comparing …",
  result: "Changes",
  resultHelp: "Edit the text, or paste or upload a file. Compare shows what it would change; nothing changes yet.",
  outdated: "The text changed: compare again.",
  same: "Nothing to change: what runs is as the file says.",
  summary: (/** @type {number} */ added, /** @type {number} */ changed, /** @type {number} */ removed) =>
    `${added} added, ${changed} changed, ${removed} removed`,
  planned: (/** @type {number} */ added, /** @type {number} */ changed, /** @type {number} */ removed) =>
    `${added} to add, ${changed} to change, ${removed} to remove`,
  mistakes: (/** @type {number} */ n) => `${count(n, "mistake")}: nothing can be applied.`,
  line: (/** @type {number} */ n) => `Line ${n}`,
  /** @type {Record<string, string>} */
  kinds: { add: "add", change: "change", remove: "remove" },
  more: (/** @type {number} */ n) => `And ${n.toLocaleString("en")} more.`,
  stays: (/** @type {number} */ n) => `What stays: ${count(n, "line")}`,
  prune: "Also remove entries that the file does not have",
  /** @type {Record<string, string>} */
  sections: { cameras: "cameras, their rules and policies", groups: "groups' policies", recording: "the policy of all cameras" },
  apply: "Apply",
  complete: "Complete the interrupted apply",
  removeAsk: (/** @type {number} */ n) => `Apply the file, and remove ${count(n, "thing")}? Events and recordings stay until they expire.`,
  removeAction: (/** @type {number} */ n) => `Apply and remove ${n}`,
  applying: (/** @type {string} */ doing) => (doing ? `Applying: ${doing} …` : "Applying …"),
  progress: "Progress of the apply",
  notReloaded: "The file that runs could not be read: reload the page before another change.",
  done: (/** @type {string} */ summary) => `Applied: ${summary}.`,
  otherEnded: "The other apply has ended: reload the page to see what runs.",
  otherRuns: (/** @type {string} */ by, /** @type {string} */ doing) => `${by} applies a site file now: ${doing}`,
};
