/** Numbers, sizes and times as people read them. */

const units = ["B", "kB", "MB", "GB", "TB"];

/** @param {number | null | undefined} n @param {number} [digits] */
export function number(n, digits = 1) {
  if (n === null || n === undefined || !Number.isFinite(n)) return "–";
  return n.toLocaleString("en", { maximumFractionDigits: Math.abs(n) >= 100 ? 0 : digits });
}

/** `1 camera`, `2 cameras`. @param {number} n @param {string} one @param {string} [many] */
export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

/** @param {number | null | undefined} n in bytes */
export function size(n) {
  if (n === null || n === undefined) return "–";
  const power = n > 0 ? Math.min(units.length - 1, Math.floor(Math.log10(n) / 3)) : 0;
  return `${number(n / 1000 ** power)} ${units[power]}`;
}

/** @param {number | null | undefined} s seconds */
export function duration(s) {
  if (s === null || s === undefined || !Number.isFinite(s)) return "–";
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${number(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.round((s % 86_400) / 3600)} h`;
}

/** The clock, with the day where it is another than today. @param {string | number | Date} time */
export function clock(time) {
  const at = new Date(time);
  const clock = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date().toDateString() ? clock : `${day(at)} ${clock}`;
}

/** For the API. @param {string | number | Date} time */
export function iso(time) {
  return new Date(time).toISOString();
}

/** @param {string | number | Date} time */
function day(time) {
  return new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

/** How long ago, in words. @param {string | number | Date} time */
export function ago(time) {
  const s = (Date.now() - new Date(time).getTime()) / 1000;
  return s < 2 ? "now" : `${duration(Math.round(s))} ago`;
}

/** @param {number | null | undefined} share 0 to 1 */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${number(share * 100)} %`;
}
