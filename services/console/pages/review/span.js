/** A time from one moment to another, moved and zoomed, and where it has ticks. Pure. */

/** @typedef {import("./types.js").Span} Span */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
const SHORTEST = 10 * SECOND;
const LONGEST = 31 * DAY;
const STEPS = [
  SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR,
  12 * HOUR, DAY, 2 * DAY, 7 * DAY,
];

/** @type {Record<string, number>} */
export const RANGES = { "1h": HOUR, "6h": 6 * HOUR, "24h": DAY, "7d": 7 * DAY };

/** So much of its own length later; earlier where it is less than nothing. @param {Span} span @param {number} share @returns {Span} */
export function move(span, share) {
  const by = (span.until - span.since) * share;
  return { since: span.since + by, until: span.until + by };
}

/**
 * The same with another length. around: the moment that stays where it is, as a share of the length.
 * @param {Span} span @param {number} factor @param {number} [around] @returns {Span}
 */
export function zoom(span, factor, around = 0.5) {
  const length = span.until - span.since;
  const next = Math.min(LONGEST, Math.max(SHORTEST, length * factor));
  const at = span.since + length * around;
  return { since: at - next * around, until: at + next * (1 - around) };
}

/**
 * Round moments of the day, at most so many. By the clock of whoever looks.
 * @param {Span} span @param {number} most @returns {number[]}
 */
export function ticks(span, most) {
  const step = STEPS.find((s) => (span.until - span.since) / s <= most) ?? 7 * DAY;
  const shift = new Date(span.since).getTimezoneOffset() * MINUTE;
  const found = [];
  for (let t = Math.ceil((span.since - shift) / step) * step + shift; t < span.until; t += step) found.push(t);
  return found;
}

/** How a tick is written. @param {number} time @param {Span} span */
export function label(time, span) {
  const at = new Date(time);
  const long = span.until - span.since;
  if (long > 2 * DAY && at.getHours() === 0 && at.getMinutes() === 0) {
    return at.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  }
  return at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: long < 10 * MINUTE ? "2-digit" : undefined });
}
