/** The texts of the pages of rules. */

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
  removeAsk: (/** @type {string} */ id) => `Remove the rules of ${id}? Open incidents end; objects are still tracked.`,
  removed: "The rules are removed.",
  unsaved: "There are changes that are not saved.",
  changed: "Someone else has changed these rules. Copy your changes from the text, then reload the page.",
  readOnly: "Read only: changing rules needs the role operator.",
  shapes: "Zones, masks and lines",
  draw: /** @type {Record<string, string>} */ ({ zones: "Draw a zone", masks: "Draw a mask", lines: "Draw a line" }),
  drawHint: "Tap each corner. Enter or a tap on the first corner finishes; Enter alone draws a default shape. Escape cancels.",
  noShapes: "None yet. A zone is a part of the picture, a mask hides what stands in it, a line is crossed.",
  name: "Name",
  anchor: "Anchor of an object",
  anchors: /** @type {Record<string, string>} */ ({ bottom: "at the lower edge of its box", center: "at the middle of its box" }),
  only: "Only these labels, separated by commas",
  delete: (/** @type {string} */ name) => `Delete ${name}`,
  reverse: "Reverse direction",
  rules: "Rules",
  addRule: "Add a rule",
  kind: "Kind of rule",
  noRules: "No rules yet: objects are tracked and counted, but raise no incidents.",
  more: "Labels, filters, schedules",
  text: "As text",
  textHint: "YAML, as tidegate rules reads it. Comments are not saved.",
  mistakes: (/** @type {number} */ n) => (n === 1 ? "There is a mistake:" : `There are ${n} mistakes:`),
  line: (/** @type {number} */ n) => `line ${n}`,
  preview: "Preview of the last hour",
  previewing: "Evaluating the last hour …",
  nothing: "No incidents in the last hour.",
  nothingSeen: "Nothing was analysed in the last hour.",
  incidents: (/** @type {number} */ n) => `${count(n, "incident")} in the last hour.`,
  most: (/** @type {number} */ n) => `Only the newest ${n} are listed.`,
  lasts: "ongoing",
  showIt: (/** @type {string} */ time) => `show the picture of ${time}`,
  newest: "Newest picture",
  notReached: (/** @type {string} */ what) => `The rules can't be checked now: ${what}`,
  unset: "not set",
  addNamed: "Add",
  newName: (/** @type {string} */ what) => `New name in ${what}`,
};

/** Kinds of rules. @type {Record<string, string>} */
export const kinds = {
  enter: "an object is in a zone",
  exit: "an object has left a zone",
  loitering: "an object stays in a zone",
  crossing: "an object crosses a line",
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
  hold_s: "Held for, s",
  end_after_s: "Ends after, s",
  cooldown_s: "Cooldown, s",
  severity: "Severity",
  schedule: "Schedule",
  verify: "Verification by a model",
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
  min_score: "Minimum score",
  min_area: "Minimum area",
  max_area: "Maximum area",
  min_height: "Minimum height",
  max_height: "Maximum height",
};
