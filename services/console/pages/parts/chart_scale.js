/** From times and values to places on a chart, and back. No element is touched here. */

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */

const STEPS_S = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];

/**
 * About `count` round values from below `least` to above `most`.
 * @param {number} least
 * @param {number} most
 * @param {number} count
 * @returns {number[]}
 */
export function ticks(least, most, count) {
  if (!(most > least)) most = least + 1;
  const rough = (most - least) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  const first = Math.floor(least / step);
  const last = Math.ceil(most / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/**
 * Times between two that people count by, by their own clock: Unix milliseconds.
 * @param {number} since
 * @param {number} until
 * @param {number} count at most
 * @returns {number[]}
 */
export function timeTicks(since, until, count) {
  const rough = (until - since) / 1000 / Math.max(1, count);
  const step = (STEPS_S.find((s) => s >= rough) ?? Math.ceil(rough / 86_400) * 86_400) * 1000;
  const zone = new Date(since).getTimezoneOffset() * 60_000;
  const first = Math.ceil((since - zone) / step) * step + zone;
  const times = [];
  for (let at = first; at <= until && times.length <= count + 1; at += step) times.push(at);
  return times;
}

/**
 * How a time is written under an axis. @param {number} at @param {number} span milliseconds of the axis
 */
export function timeLabel(at, span) {
  const time = new Date(at);
  const isMidnight = time.getHours() === 0 && time.getMinutes() === 0;
  if (isMidnight && span > 2 * 86_400_000) return time.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  const seconds = span < 600_000 ? /** @type {const} */ ("2-digit") : undefined;
  return time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: seconds });
}

/**
 * The index of the point that a time lies in; null outside the grid.
 * @param {number} at
 * @param {{since: number, step: number, points: number}} grid
 */
export function indexAt(at, { since, step, points }) {
  const index = Math.floor((at - since) / step);
  return index >= 0 && index < points ? index : null;
}

/**
 * The largest of the values of all series, of those that are known.
 * @param {(number | null)[][]} series
 */
export function largest(series) {
  let most = 0;
  for (const values of series) for (const value of values) if (value !== null && value > most) most = value;
  return most;
}

/**
 * A range around a time, scaled by a factor.
 * @param {number} since
 * @param {number} until
 * @param {number} at
 * @param {number} factor
 */
export function around(since, until, at, factor) {
  const span = (until - since) * factor;
  const share = (at - since) / (until - since);
  return { since: at - span * share, until: at + span * (1 - share) };
}
