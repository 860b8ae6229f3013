/** Video into a browser's decoder, each part at the time of the day at which it was filmed: what is missing stays empty. */

import { mime, Source } from "../parts/live_buffer.js";

/** Seconds around the current time that stay when the browser's buffer is full. */
const BEHIND_S = 5;
const AHEAD_S = 30;
/** A smaller difference between clocks is ignored. */
const SAME_S = 0.0005;

export class DayBuffer {
  /** @type {SourceBuffer | null} */
  #buffer = null;
  #codec = "";

  /** @param {HTMLVideoElement} video @param {number} seconds how long the day is */
  constructor(video, seconds) {
    if (!Source) throw new Error("no MediaSource");
    this.video = video;
    const source = (this.#source = new Source());
    const address = URL.createObjectURL(source);
    this.#opened = new Promise((resolve) => source.addEventListener("sourceopen", () => {
      URL.revokeObjectURL(address);
      source.duration = seconds;
      resolve(null);
    }, { once: true }));
    video.disableRemotePlayback = true;
    video.src = address;
  }

  #source;
  #opened;

  /** What the groups that follow are played below. @param {string} codec @param {ArrayBuffer} data */
  async head(codec, data) {
    await this.#opened;
    if (!this.#buffer) {
      this.#buffer = this.#source.addSourceBuffer(mime(codec));
      this.#buffer.mode = "segments";
    } else if (codec !== this.#codec) this.#buffer.changeType(mime(codec));
    this.#codec = codec;
    await this.#append(this.#buffer, data);
  }

  /** @param {ArrayBuffer} data @param {number} later seconds from its own clock to the day's */
  async group(data, later) {
    const buffer = this.#buffer;
    if (!buffer) return;
    if (Math.abs(buffer.timestampOffset - later) > SAME_S) buffer.timestampOffset = later;
    await this.#append(buffer, data);
  }

  /** Take out all that there is. */
  async clear() {
    if (this.#buffer) await this.#remove(this.#buffer, 0, Infinity);
  }

  /** @param {SourceBuffer} buffer @param {ArrayBuffer} data */
  async #append(buffer, data) {
    try {
      await whenDone(buffer, () => buffer.appendBuffer(data));
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "QuotaExceededError")) throw error;
      const at = this.video.currentTime;
      if (at > BEHIND_S) await this.#remove(buffer, 0, at - BEHIND_S);
      await this.#remove(buffer, at + AHEAD_S, Infinity);
      await whenDone(buffer, () => buffer.appendBuffer(data));
    }
  }

  /** @param {SourceBuffer} buffer @param {number} since @param {number} until */
  async #remove(buffer, since, until) {
    await whenDone(buffer, () => buffer.remove(since, until));
  }
}

/** Resolve once the browser has finished an operation of the buffer. @param {SourceBuffer} buffer @param {() => void} begin @returns {Promise<void>} */
function whenDone(buffer, begin) {
  return new Promise((resolve, reject) => {
    const ended = new AbortController();
    const end = (/** @type {() => void} */ then) => {
      ended.abort();
      then();
    };
    buffer.addEventListener("updateend", () => end(resolve), { signal: ended.signal });
    buffer.addEventListener("error", () => end(() => reject(new Error("the browser can't read it"))), { signal: ended.signal });
    try {
      begin();
    } catch (error) {
      end(() => reject(error));
    }
  });
}

/** Where what is there around a time ends; null where there is nothing. @param {TimeRanges} buffered @param {number} time */
export function endOf(buffered, time) {
  for (let n = 0; n < buffered.length; n += 1) {
    if (buffered.start(n) <= time && time < buffered.end(n)) return buffered.end(n);
  }
  return null;
}
