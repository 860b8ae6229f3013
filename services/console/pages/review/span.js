/** A time from one moment to another, moved and zoomed. Pure. */

/** @typedef {import("./types.js").Span} Span */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SHORTEST = 10 * SECOND;
const LONGEST = 31 * DAY;

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
