/** What the address asks of this page, and what that is in the API's words. Pure. */

import { iso } from "../parts/format.js";
import { RANGES } from "./span.js";

/** @typedef {import("./types.js").Span} Span */

/** Those that the API knows by the same name. */
const SAME = ["camera", "rule", "severity", "verdict", "state", "alert", "reviewed", "incident"];
/** All that the address may have. open: an incident's id. at: a moment of it. */
const NAMES = [...SAME, "range", "since", "until", "open", "at"];
export const RANGE = "24h";

/** @typedef {Record<string, string>} Query */

/** @param {URLSearchParams} params @returns {Query} */
export function fromAddress(params) {
  /** @type {Query} */
  const query = {};
  for (const name of NAMES) {
    const value = params.get(name);
    if (value) query[name] = value;
  }
  if (query["range"] && !RANGES[query["range"]]) delete query["range"];
  return query;
}

/** The time that it is about. @param {Query} query @param {number} now @returns {Span} */
export function spanOf(query, now) {
  const since = Date.parse(query["since"] ?? "");
  const until = Date.parse(query["until"] ?? "");
  if (since < until) return { since, until };
  return { since: now - (RANGES[query["range"] ?? RANGE] ?? 0), until: now };
}

/** Whether the time is one that was chosen, and does not go on with the clock. @param {Query} query */
export function isChosen(query) {
  return Date.parse(query["since"] ?? "") < Date.parse(query["until"] ?? "");
}

/** The API's query. One incident is searched at any time. @param {Query} query @param {number} now @returns {Record<string, string>} */
export function toApi(query, now) {
  /** @type {Record<string, string>} */
  const out = {};
  for (const name of SAME) if (query[name]) out[name] = query[name] ?? "";
  if (query["incident"]) return out;
  const span = spanOf(query, now);
  out["since"] = iso(span.since);
  if (isChosen(query)) out["until"] = iso(span.until);
  return out;
}
