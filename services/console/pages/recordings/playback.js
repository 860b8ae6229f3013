/** Plays a day's recordings from any moment on, and jumps over what is missing. Its clock is the day's. */

import { ApiError } from "../api.js";
import { plays } from "../parts/live_buffer.js";
import { DayBuffer, endOf } from "./buffer.js";
import { Footage } from "./footage.js";

/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./playlist.js").Group} Group */

/** The group that shows the day's first moment begins before it. */
const BEFORE_MS = 600_000;
const AHEAD_MS = 15_000;
const POLL_MS = 100;
/**
 * What is missing between groups that were put in. last: milliseconds that the group before it is shown.
 * @typedef {Span & {last: number}} Hole
 */

/** Players stop at a hole of more, a little before it, and the faster they play the earlier: up to a picture early. */
const HOLE_MS = 60;
const NEAR_MS = 120;
const STALLED_MS = 1000;

/** This browser can't play it. */
export class Unplayable extends Error {}

export class Playback {
  #ended = new AbortController();
  #turn = 0;
  /** @type {Promise<void>} */
  #feeding = Promise.resolve();
  #headed = "";
  /** @type {Hole[]} */
  #holes = [];
  /** What is wanted until it is there. @type {number | null} */
  #target = null;
  #atEnd = false;
  #missed = 0;

  /**
   * @param {HTMLVideoElement} video
   * @param {string} camera
   * @param {Span} day
   * @param {{moved: () => void, jumped: (hole: Span) => void, fed: () => void, ended: () => void, failed: (error: unknown) => void}} events
   */
  constructor(video, camera, day, events) {
    this.video = video;
    this.#base = day.since - BEFORE_MS;
    this.#events = events;
    this.#footage = new Footage(camera, this.#ended.signal);
    this.#buffer = new DayBuffer(video, (day.until - this.#base + BEFORE_MS) / 1000);
    this.#timer = setInterval(() => this.#checkHoles(), POLL_MS);
    const { signal } = this.#ended;
    for (const name of ["timeupdate", "seeked", "play", "pause"]) video.addEventListener(name, events.moved, { signal });
    video.addEventListener("error", () => events.failed(new Unplayable()), { signal });
  }

  #base;
  #events;
  #footage;
  #buffer;
  #timer;

  /** The moment that is shown, or is to be, in milliseconds since 1970. */
  get time() {
    return this.#target ?? this.#base + this.video.currentTime * 1000;
  }

  /** @param {Span[]} stretches of the day, by time */
  setStretches(stretches) {
    this.#footage.stretches = stretches;
  }

  /** Show this moment, or the first after it that there is. @param {number} time */
  seek(time) {
    this.#target = time;
    const turn = ++this.#turn;
    const before = this.#feeding;
    this.#feeding = (async () => {
      await before;
      if (turn === this.#turn) await this.#feed(time, turn);
    })().catch((error) => this.#fail(error, turn));
    this.#events.moved();
  }

  play() {
    if (this.#atEnd) this.seek(this.time);
    void this.video.play().catch(() => {});
  }

  end() {
    this.#ended.abort();
    this.#turn += 1;
    clearInterval(this.#timer);
    this.video.removeAttribute("src");
    this.video.load();
  }

  /** Put in what follows, as it is played. @param {number} from @param {number} turn */
  async #feed(from, turn) {
    this.#atEnd = false;
    this.#holes = [];
    const bufferedEnd = endOf(this.video.buffered, this.#seconds(from));
    if (bufferedEnd === null) await this.#buffer.clear();
    else this.#go(from);
    let at = bufferedEnd === null ? from : this.#base + bufferedEnd * 1000;
    let last = 0;
    while (turn === this.#turn) {
      const group = await this.#footage.after(at);
      if (turn !== this.#turn) return;
      if (!group) return this.#end(at, last);
      if (!(await this.#put(group))) continue;
      if (turn !== this.#turn) return;
      this.#events.fed();
      if (this.#target !== null) this.#go(Math.max(from, group.since));
      else if (group.since > at + HOLE_MS) this.#holes.push({ since: at, until: group.since, last });
      at = group.until;
      last = group.until - group.since;
      while (turn === this.#turn && at > this.time + AHEAD_MS) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** @param {Group} group @returns {Promise<boolean>} whether it is in */
  async #put(group) {
    const parts = await Promise.all([this.#footage.head(group), this.#footage.bytes(group)]).catch((error) => this.#missing(group, error));
    if (!parts) return false;
    const [head, data] = parts;
    if (group.head !== this.#headed) {
      if (!plays(head.codec)) throw new Unplayable(head.codec);
      await this.#buffer.head(head.codec, head.data);
      this.#headed = group.head;
    }
    await this.#buffer.group(data, this.#seconds(group.since) - group.at);
    return true;
  }

  /** What was not recorded yet is elsewhere once it is: ask for it again, once. @param {Group} group @param {unknown} error */
  #missing(group, error) {
    if (!(error instanceof ApiError && error.status === 404) || this.#missed === group.since) throw error;
    this.#missed = group.since;
    this.#footage.forget(group.since);
    return null;
  }

  /** @param {number} time */
  #seconds(time) {
    return (time - this.#base) / 1000;
  }

  /** @param {number} time that is there */
  #go(time) {
    this.#target = null;
    this.video.currentTime = this.#seconds(time);
  }

  /** Nothing follows. @param {number} at @param {number} last */
  #end(at, last) {
    this.#atEnd = true;
    this.#events.fed();
    if (this.#target === null) return this.#holes.push({ since: at, until: Infinity, last });
    this.#target = null;
    this.video.pause();
    return this.#events.ended();
  }

  /** Jump over what is missing. */
  #checkHoles() {
    const isStalled = this.video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA;
    const near = (/** @type {Hole} */ { last }) => (isStalled ? last + STALLED_MS : NEAR_MS);
    const hole = this.#holes.find((one) => this.time >= one.since - near(one) && this.time < one.until);
    if (this.#target !== null || !hole || this.video.paused || this.video.seeking) return;
    this.#holes = this.#holes.filter((one) => one !== hole);
    if (hole.until === Infinity) {
      this.video.pause();
      return this.#events.ended();
    }
    this.#go(hole.until);
    return this.#events.jumped(hole);
  }

  /** @param {unknown} error @param {number} turn */
  #fail(error, turn) {
    if (!this.#ended.signal.aborted && turn === this.#turn) this.#events.failed(error);
  }
}
