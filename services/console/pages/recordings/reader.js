/** The recordings of a day, requested in detail only for hours that are not whole. */

import { get } from "../api.js";
import { iso } from "../parts/format.js";
import { HOUR, merge, MINUTE, splitHours } from "./days.js";

/** @typedef {import("./types.js").Hour} Hour */
/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./types.js").Gap} Gap */
/** @typedef {import("./painting.js").Data} Data */
/** @typedef {{stretches: Span[], gaps: Gap[]}} Part */

const MOST_MARKS = 500;
const MOST_PARTS = 64;
/** The newest video, which the hours do not list yet. */
const NEW = 15 * MINUTE;

export class DayReader {
  /** By the time and its hours. @type {Map<string, Part>} */
  #parts = new Map();

  /** @param {string} camera @param {AbortSignal} signal */
  constructor(camera, signal) {
    this.#camera = camera;
    this.#signal = signal;
  }

  #camera;
  #signal;

  /** @param {Hour[]} hours @param {Span} day @param {(data: Data) => void} first called first with the whole hours @returns {Promise<Data>} */
  async read(hours, day, first) {
    const { whole, partial } = splitHours(hours, day);
    first({ stretches: whole, gaps: [], marks: [] });
    const now = Date.now();
    const recent = now > day.since && now < day.until ? [{ since: Math.max(day.since, now - NEW), until: now }] : [];
    const [marks, ...parts] = await Promise.all([this.#marks(day), ...partial.map((span) => this.#part(span, hours)), ...recent.map((span) => this.#ask(span))]);
    const within = (/** @type {any} */ span) => inside(span, day);
    return {
      stretches: merge([...whole, ...parts.flatMap((part) => part.stretches)].flatMap(within)),
      gaps: join(parts.flatMap((part) => part.gaps).flatMap(within)),
      marks,
    };
  }

  /** @param {Span} span @param {Hour[]} hours */
  async #part(span, hours) {
    const overlapping = hours.filter(({ hour }) => Date.parse(hour) < span.until && Date.parse(hour) + HOUR > span.since);
    const key = JSON.stringify([span, overlapping]);
    const part = this.#parts.get(key) ?? (await this.#ask(span));
    this.#parts.set(key, part);
    for (const oldest of this.#parts.keys()) {
      if (this.#parts.size <= MOST_PARTS) break;
      this.#parts.delete(oldest);
    }
    return part;
  }

  /** @param {Span} span @returns {Promise<Part>} */
  async #ask(span) {
    const query = { from: iso(span.since), to: iso(span.until) };
    const reply = await get(`recordings/${encodeURIComponent(this.#camera)}/time`, query, this.#signal);
    const spans = (/** @type {any[]} */ row) => row.map((one) => ({ ...one, since: Date.parse(one.since), until: Date.parse(one.until) }));
    return { stretches: spans(reply.stretches), gaps: spans(reply.gaps) };
  }

  /** @param {Span} day */
  async #marks(day) {
    const query = { camera: this.#camera, since: iso(day.since), until: iso(day.until), limit: MOST_MARKS };
    const reply = await get("incidents", query, this.#signal).catch(() => ({ incidents: [] }));
    return reply.incidents.map((/** @type {any} */ { start, rule, severity }) => ({ start: Date.parse(start), rule, severity }));
  }
}

/** What of it is in a day. @template {Span} T @param {T} span @param {Span} day @returns {T[]} */
function inside(span, day) {
  const [since, until] = [Math.max(span.since, day.since), Math.min(span.until, day.until)];
  return since < until ? [{ ...span, since, until }] : [];
}

/** Merge adjacent gaps of one cause; duplicates disappear. @param {Gap[]} gaps */
function join(gaps) {
  const causes = new Set(gaps.map(({ cause }) => cause));
  return [...causes].flatMap((cause) => merge(gaps.filter((gap) => gap.cause === cause)).map((span) => ({ ...span, cause }))).sort((a, b) => a.since - b.since);
}
