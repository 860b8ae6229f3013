/** The timeline's picture: what is recorded, what is missing and why, incidents, and what was chosen. */

import { timeLabel, timeTicks } from "../parts/chart_scale.js";
import { svg } from "../parts/dom.js";

/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./types.js").Gap} Gap */
/** @typedef {import("./types.js").Mark} Mark */
/** @typedef {{stretches: Span[], gaps: Gap[], marks: Mark[]}} Data */

export const HEIGHT = 72;
const AXIS = 20;
const BAND = 30;
const MARKS = AXIS + BAND + 4;
const TICK_PX = 70;
/** Size shows the severity too: colours alone are not accessible. */
const SIZES = { info: 6, warning: 9, critical: 13 };

/** Where a time is, as a share of the width in percent. @param {number} time @param {Span} view */
export function place(time, view) {
  return (100 * (time - view.since)) / (view.until - view.since);
}

/** @param {number} percent */
const at = (percent) => `${percent.toFixed(4)}%`;

/**
 * All but the moment that is shown and what was chosen.
 * @param {Data} data @param {Span} view @param {number} width pixels
 * @returns {SVGElement[]}
 */
export function paint({ stretches, gaps, marks }, view, width) {
  const isVisible = (/** @type {Span} */ span) => span.until > view.since && span.since < view.until;
  return [
    hatch(),
    svg("rect", { class: "band", x: 0, y: AXIS, width: "100%", height: BAND }),
    ...stretches.filter(isVisible).map((span) => block(span, view, "recorded")),
    ...gaps.filter(isVisible).map((gap) => block(gap, view, `gap ${gap.cause}`, "url(#recordings-hatch)")),
    ...axis(view, width),
    ...marks.filter((mark) => mark.start >= view.since && mark.start < view.until).map((mark) => incident(mark, view)),
  ];
}

/** What was chosen. @param {Span} chosen @param {Span} view */
export function choice(chosen, view) {
  return svg("g", {}, block(chosen, view, "chosen"), ...[chosen.since, chosen.until].map((time) => line(place(time, view), "edge")));
}

/** The moment that is shown. @param {number} time @param {Span} view */
export function moment(time, view) {
  return line(place(time, view), "shown");
}

/** @param {number} percent @param {string} kind */
function line(percent, kind) {
  return svg("line", { class: kind, x1: at(percent), x2: at(percent), y1: AXIS - 4, y2: AXIS + BAND + 4 });
}

/** @param {Span} span @param {Span} view @param {string} kind @param {string} [fill] */
function block(span, view, kind, fill) {
  const from = Math.max(0, place(span.since, view));
  const to = Math.min(100, place(span.until, view));
  // What is short is seen all the same.
  return svg("rect", { class: kind, fill, x: at(from), width: at(Math.max(0.1, to - from)), y: AXIS, height: BAND });
}

/** @param {Mark} mark @param {Span} view */
function incident(mark, view) {
  const size = SIZES[mark.severity] ?? SIZES.info;
  return svg("rect", { class: `mark ${mark.severity}`, x: at(place(mark.start, view)), y: MARKS, width: 4, height: size });
}

/** @param {Span} view @param {number} width */
function axis(view, width) {
  const span = view.until - view.since;
  return timeTicks(view.since, view.until, Math.max(2, Math.floor(width / TICK_PX))).flatMap((time) => {
    const percent = place(time, view);
    const tick = svg("line", { class: "tick", x1: at(percent), x2: at(percent), y1: AXIS - 5, y2: AXIS + BAND });
    return (percent / 100) * width > width - 40 ? [tick] : [tick, svg("text", { x: at(percent), dx: 3, y: AXIS - 7 }, timeLabel(time, span))];
  });
}

function hatch() {
  return svg("defs", {}, svg("pattern", { id: "recordings-hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse" },
    svg("path", { class: "hatch", d: "M0 6L6 0" })));
}
