/** Days in the browser's time zone, their recordings, and stretches of time. Pure. */

/** @typedef {import("./types.js").Hour} Hour */
/** @typedef {import("./types.js").Span} Span */
/** @typedef {{seconds: number, bytes: number, incident: boolean}} Day */

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
/** The longest time of one API request. */
const MOST = 3 * HOUR;
/** Stretches that are nearer to each other are one. */
const APART = 500;

/** `2026-11-29`. @param {number} time */
export function dayOf(time) {
  const at = new Date(time);
  return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map((n) => String(n).padStart(2, "0")).join("-");
}

/** A day from its midnight to the next: 23 to 25 hours. @param {string} day @returns {Span | null} null: it is no day */
export function spanOf(day) {
  const [, year, month, date] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(day)?.map(Number) ?? [];
  if (!year || !month || !date) return null;
  return { since: new Date(year, month - 1, date).getTime(), until: new Date(year, month - 1, date + 1).getTime() };
}

/** The day `by` days later. @param {string} day @param {number} by */
export function dayAfter(day, by) {
  const at = new Date(spanOf(day)?.since ?? 0);
  return dayOf(new Date(at.getFullYear(), at.getMonth(), at.getDate() + by).getTime());
}

/** The same day `by` months later, or the last of that month. @param {string} day @param {number} by */
export function monthAfter(day, by) {
  const at = new Date(spanOf(day)?.since ?? 0);
  const last = new Date(at.getFullYear(), at.getMonth() + by + 1, 0);
  return dayOf(new Date(last.getFullYear(), last.getMonth(), Math.min(at.getDate(), last.getDate())).getTime());
}

/** The weeks of a day's month, from Monday on; null outside the month. @param {string} day @returns {(string | null)[][]} */
export function weeksOf(day) {
  const first = `${day.slice(0, 8)}01`;
  const before = (new Date(spanOf(first)?.since ?? 0).getDay() + 6) % 7;
  /** @type {(string | null)[]} */
  const cells = Array(before).fill(null);
  for (let one = first; one.slice(0, 7) === day.slice(0, 7); one = dayAfter(one, 1)) cells.push(one);
  while (cells.length % 7) cells.push(null);
  return Array.from({ length: cells.length / 7 }, (_, n) => cells.slice(7 * n, 7 * n + 7));
}

/** What there is of each day. @param {Hour[]} hours @returns {Map<string, Day>} */
export function daysOf(hours) {
  /** @type {Map<string, Day>} */
  const days = new Map();
  for (const { hour, seconds, bytes, incident } of hours) {
    const day = dayOf(Date.parse(hour));
    const sum = days.get(day) ?? { seconds: 0, bytes: 0, incident: false };
    days.set(day, { seconds: sum.seconds + seconds, bytes: sum.bytes + bytes, incident: sum.incident || incident });
  }
  return days;
}

/**
 * Hours of which there is all video by what is said of them, as stretches; and what has to be asked for more exactly:
 * times with something of which some is missing, and the hour before the day, in which a gap may have begun.
 * @param {Hour[]} hours by time
 * @param {Span} day
 * @returns {{whole: Span[], partial: Span[]}}
 */
export function splitHours(hours, day) {
  const times = hours.map(({ hour }) => Date.parse(hour));
  /** @type {Span[]} */
  const whole = [];
  /** @type {Span[]} */
  const partial = [];
  hours.forEach((one, n) => {
    const [since, until] = [times[n] ?? 0, (times[n] ?? 0) + HOUR];
    if (until <= day.since || since >= day.until) return;
    const isWhole = !Object.keys(one.lost).length && times[n - 1] === since - HOUR && times[n + 1] === until && one.seconds > HOUR / SECOND / 2;
    (isWhole ? whole : partial).push({ since: Math.max(since, day.since), until: Math.min(until, day.until) });
  });
  const before = hours.findLast((_, n) => (times[n] ?? 0) + HOUR <= day.since);
  if (before && Object.keys(before.lost).length) {
    const since = Date.parse(before.hour);
    partial.unshift({ since, until: since + HOUR });
  }
  return { whole: merge(whole), partial: merge(partial).flatMap(parts) };
}

/** @param {Span} span @returns {Span[]} */
function parts({ since, until }) {
  const spans = [];
  for (let at = since; at < until; at += MOST) spans.push({ since: at, until: Math.min(until, at + MOST) });
  return spans;
}

/** Stretches that follow each other as one. @param {Span[]} spans @returns {Span[]} */
export function merge(spans) {
  /** @type {Span[]} */
  const row = [];
  for (const span of [...spans].sort((a, b) => a.since - b.since)) {
    const last = row.at(-1);
    if (last && span.since - last.until <= APART) last.until = Math.max(last.until, span.until);
    else row.push({ ...span });
  }
  return row;
}

/** Milliseconds of a time that stretches show. @param {Span[]} spans @param {Span} of */
export function coverage(spans, of) {
  return spans.reduce((sum, span) => sum + Math.max(0, Math.min(span.until, of.until) - Math.max(span.since, of.since)), 0);
}

/** The stretch that shows a time, or else the first after it. @param {Span[]} spans @param {number} time */
export function stretchAt(spans, time) {
  return spans.find((span) => span.until > time);
}
