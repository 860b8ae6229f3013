/** What the pages of rules say. */

import { count } from "../parts/format.js";

/** @typedef {import("./shapes.js").Point} Point */

const percent = (/** @type {number} */ share) => `${Math.round(share * 1000) / 10} %`;

export const drawing = {
  label: "zones, masks and lines over the picture",
  kinds: /** @type {Record<string, string>} */ ({ zones: "zone", masks: "mask", lines: "line" }),
  mask: (/** @type {number} */ n) => `mask ${n}`,
  into: "in",
  corner: (/** @type {string} */ what, /** @type {string} */ name, /** @type {number} */ n, /** @type {Point} */ at) =>
    `corner ${n} of ${what} ${name}, ${percent(at[0])} across, ${percent(at[1])} down: arrow keys move it, Delete removes it, + adds one`,
  whole: (/** @type {string} */ what, /** @type {string} */ name) => `the whole ${what} ${name}: arrow keys move it`,
};

export const rules = {
  title: (/** @type {string} */ id) => `Rules of ${id}`,
  back: "Camera",
  save: "Save the rules",
  saved: "The rules hold from the next segment on.",
  undo: "Undo",
  remove: "Remove all rules",
  removeAsk: (/** @type {string} */ id) => `Remove the rules of ${id}? Incidents that last end; its objects are still followed.`,
  removed: "The rules are removed.",
  unsaved: "There are changes that are not saved.",
  changed: "Somebody else has changed these rules meanwhile. Copy what you need from the text, and load them again.",
  readOnly: "You may look at these rules. An operator may change them.",
  shapes: "Zones, masks and lines",
  draw: /** @type {Record<string, string>} */ ({ zones: "Draw a zone", masks: "Draw a mask", lines: "Draw a line" }),
  drawHint: "Tap its corners, one after the other. Enter or a tap on the first one ends it; Enter alone makes a usual one. Escape gives up.",
  noShapes: "None yet. A zone is a part of the picture, a mask hides what stands in it, a line is crossed.",
  name: "Name",
  anchor: "Where an object stands",
  anchors: /** @type {Record<string, string>} */ ({ bottom: "at the lower edge of its box", center: "at the middle of its box" }),
  only: "Only these labels, with commas",
  delete: (/** @type {string} */ name) => `Delete ${name}`,
  reverse: "Turn around",
  rules: "What is told",
  addRule: "Add a rule",
  kind: "Kind of rule",
  noRules: "No rule yet: objects are followed and counted, and nothing is told.",
  more: "Labels, filters, schedules",
  text: "As text",
  textHint: "YAML, as tidegate rules takes it. Comments are not kept.",
  mistakes: (/** @type {number} */ n) => (n === 1 ? "There is a mistake:" : `There are ${n} mistakes:`),
  line: (/** @type {number} */ n) => `line ${n}`,
  preview: "What they would have told",
  previewing: "The last hour is looked through …",
  nothing: "of the last hour: no incident.",
  nothingSeen: "Nothing was looked at in the last hour, so that nobody can say.",
  incidents: (/** @type {number} */ n) => `of the last hour: ${count(n, "incident")}.`,
  most: (/** @type {number} */ n) => `The newest ${n} are listed.`,
  lasts: "lasts still",
  showIt: (/** @type {string} */ time) => `show the picture of ${time}`,
  newest: "Newest picture",
  notReached: (/** @type {string} */ what) => `It can't be tried now: ${what}`,
  unset: "not set",
  addNamed: "Add",
  newName: (/** @type {string} */ what) => `Name of a new one in ${what}`,
};

/** Kinds of rules, in people's words. @type {Record<string, string>} */
export const kinds = {
  enter: "somebody is in a zone",
  exit: "somebody has left a zone",
  loitering: "somebody stays in a zone",
  crossing: "somebody crosses a line",
  count: "too many or too few",
  proximity: "two are near each other",
  stopped: "something does not move",
  wrong_way: "something goes the wrong way",
  speed: "something is too fast",
  crowding: "a crowd",
};

/** Fields of rules. @type {Record<string, string>} */
export const fields = {
  id: "Name",
  zone: "Zone",
  line: "Line",
  labels: "Labels",
  to: "Near which labels",
  hold_s: "True for this long, s",
  end_after_s: "Over after, s",
  cooldown_s: "Then quiet for, s",
  severity: "Severity",
  schedule: "Schedule",
  verify: "A model is asked to confirm",
  alert: "Alert",
  seconds: "Longer than, s",
  direction: "Direction",
  over: "More than",
  under: "Fewer than",
  distance: "Nearer than, in heights of the picture",
  tolerance: "Off by more than, degrees",
  min_speed: "Faster than, heights a second",
  objects: "Objects together",
  timezone: "Time zone of the schedules",
  filters: "Filters, by label",
  schedules: "Schedules",
  days: "Days",
  from: "From",
  until: "Until",
  min_score: "Least score",
  min_area: "Least area",
  max_area: "Most area",
  min_height: "Least height",
  max_height: "Most height",
};
