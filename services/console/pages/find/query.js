/** A search as the address has it, as the API takes it and as it is saved. Pure. */

/**
 * text, like: what is looked for; like: a moment's id. last: seconds; since, until: RFC 3339. Empty: not given.
 * @typedef {{text: string, like: string, cameras: string[], labels: string[], last: string, since: string, until: string, score: string, k: string}} Search
 */

export const MOST = "24";
const LISTS = ["camera", "label"];

/** @returns {Search} */
export function nothing() {
  return { text: "", like: "", cameras: [], labels: [], last: "", since: "", until: "", score: "", k: MOST };
}

/** Of the address. @param {URLSearchParams} query @returns {Search} */
export function fromAddress(query) {
  const one = (/** @type {string} */ name) => query.get(name) ?? "";
  const [cameras = [], labels = []] = LISTS.map((name) => one(name).split(",").filter(Boolean));
  return {
    text: one("text"), like: one("like"), cameras, labels, last: number(one("last")), since: time(one("since")), until: time(one("until")),
    score: number(one("score")), k: number(one("k")) || MOST,
  };
}

/** For the address. @param {Search} search @returns {Record<string, string>} */
export function toAddress(search) {
  const { cameras, labels, k, ...rest } = search;
  return { ...rest, camera: cameras.join(","), label: labels.join(","), k: k === MOST ? "" : k };
}

/** Whether there is anything to look for. @param {Search} search @param {string} [image] */
export function isComplete(search, image = "") {
  return Boolean(search.text.trim() || search.like || image || search.labels.length);
}

/** For the API. @param {Search} search @param {string} [image] base64 @returns {Record<string, any>} */
export function toApi(search, image = "") {
  /** @type {Record<string, any>} */
  const out = { k: Math.min(100, Math.max(1, Math.round(Number(search.k)) || Number(MOST))) };
  if (image) out["image"] = image;
  else if (search.like) out["like"] = search.like;
  else if (search.text.trim()) out["text"] = search.text.trim();
  if (search.cameras.length) out["cameras"] = search.cameras;
  if (search.labels.length) out["labels"] = search.labels;
  if (search.last) out["last_s"] = Number(search.last);
  if (search.since) out["since"] = search.since;
  if (search.until) out["until"] = search.until;
  if (search.score) out["min_score"] = Number(search.score);
  return out;
}

/** Of one that was saved, which is as the API takes it. @param {Record<string, any>} saved @returns {Search} */
export function fromApi(saved) {
  return {
    text: saved["text"] ?? "", like: saved["like"] ?? "", cameras: saved["cameras"] ?? [], labels: saved["labels"] ?? [],
    last: saved["last_s"] ? String(saved["last_s"]) : "", since: saved["since"] ?? "", until: saved["until"] ?? "",
    score: saved["min_score"] ? String(saved["min_score"]) : "", k: String(saved["k"] ?? MOST),
  };
}

/** A key for a title, as the API takes names. @param {string} title @param {number} now */
export function keyFor(title, now) {
  const name = title.trim().toLowerCase().replace(/[^a-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  return name || `search-${now.toString(36)}`;
}

/** @param {string} text */
function number(text) {
  return text && Number.isFinite(Number(text)) && Number(text) >= 0 ? text : "";
}

/** @param {string} text */
function time(text) {
  return Number.isNaN(Date.parse(text)) ? "" : text;
}
