/** Which groups of pictures show a time, and their bytes, as the console's API has them: a few minutes at a time. */

import { ApiError, request } from "../api.js";
import { iso } from "../parts/format.js";
import { MINUTE, SECOND, stretchAt } from "./days.js";
import { groups } from "./playlist.js";

/** @typedef {import("./playlist.js").Group} Group */
/** @typedef {import("./types.js").Span} Span */

const WINDOW = 5 * MINUTE;
/** Video newer than this may still grow, and is requested again. */
const NEW = 5 * MINUTE;
const AGAIN = 5 * SECOND;
const MOST_WINDOWS = 24;
const MOST_HEADS = 4;

export class Footage {
  /** @type {Map<number, {until: number, groups: Promise<Group[]>}>} */
  #windows = new Map();
  /** @type {Map<string, Promise<{codec: string, data: ArrayBuffer}>>} */
  #heads = new Map();
  /** Of which there is video. @type {Span[]} */
  stretches = [];

  /** @param {string} camera @param {AbortSignal} signal */
  constructor(camera, signal) {
    this.#path = `recordings/${encodeURIComponent(camera)}/`;
    this.#signal = signal;
  }

  #path;
  #signal;

  /** The group that shows a time, or the first after it; null if none follows. @param {number} time */
  async after(time) {
    for (let at = time; ; ) {
      const stretch = stretchAt(this.stretches, at + 1);
      if (!stretch) return null;
      const window = Math.floor(Math.max(at, stretch.since) / WINDOW) * WINDOW;
      const next = (await this.#window(window)).find((group) => group.until > at + 1);
      if (next) return next;
      at = window + WINDOW;
    }
  }

  /** Drop the cached playlist of a time. @param {number} time */
  forget(time) {
    this.#windows.delete(Math.floor(time / WINDOW) * WINDOW);
  }

  /** @param {Group} group @returns {Promise<ArrayBuffer>} */
  async bytes(group) {
    return (await this.#ask(group.src)).arrayBuffer();
  }

  /** What a group is played below. @param {Group} group */
  head({ head }) {
    const entry = this.#heads.get(head) ?? this.#ask(head).then(async (answer) => ({ codec: answer.headers.get("X-Codec") ?? "", data: await answer.arrayBuffer() }));
    entry.catch(() => this.#heads.delete(head));
    remember(this.#heads, head, entry, MOST_HEADS);
    return entry;
  }

  /** @param {number} since */
  #window(since) {
    const cached = this.#windows.get(since);
    const isGood = cached && cached.until > Date.now();
    const entry = isGood ? cached : { until: since + WINDOW + NEW < Date.now() ? Infinity : Date.now() + AGAIN, groups: this.#groups(since) };
    entry.groups.catch(() => this.#windows.delete(since));
    remember(this.#windows, since, entry, MOST_WINDOWS);
    return entry.groups;
  }

  /** @param {number} since */
  async #groups(since) {
    try {
      const answer = await this.#ask(`${this.#path}playlist.m3u8`, { from: iso(since), to: iso(since + WINDOW) });
      return groups(await answer.text(), answer.url);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return [];
      throw error;
    }
  }

  /** @param {string} path @param {Record<string, string>} [query] */
  #ask(path, query) {
    return request("GET", path, { query, signal: this.#signal });
  }
}

/** Add to a cache that keeps the `most` entries used last. @template K, V @param {Map<K, V>} map @param {K} key @param {V} value @param {number} most */
function remember(map, key, value, most) {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= most) break;
    map.delete(oldest);
  }
}
