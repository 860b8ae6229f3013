/**
 * A camera as it is now: `<td-player camera="lobby">`, or `player("lobby")`.
 *
 * It plays what the camera sends, near the live edge, and shows pictures where the browser can't play it: then it gives
 * the event `unplayable`, whose detail says why. `currentWallTime` is the capture time of the shown frame.
 */

import { url } from "../api.js";
import { h } from "./dom.js";
import { watch } from "./live.js";
import { LiveBuffer, plays } from "./live_buffer.js";
import { strings } from "./player_strings.js";

/** @typedef {import("./live.js").Head} Head */

/** Seconds behind the live edge at which it jumps there, and from which on it plays a little faster. */
const JUMP_S = 3;
const CATCH_UP_S = 0.5;
const FASTER = 1.05;
/** A gap in the video is passed over, after which less than this is waited for. */
const GAP_S = 0.1;
const PICTURE_MS = 2000;
const MOST_FAILURES = 3;

export class Player extends HTMLElement {
  video = h("video", { muted: true, playsInline: true, autoplay: true });
  /** What is drawn over the video. */
  canvas = h("canvas", { "aria-hidden": "true" });
  #picture = h("img", { hidden: true });
  #note = h("p", { class: "note" }, strings.waiting);
  /** Seconds behind the live edge, so that the detections of a frame arrive before it is shown. */
  lag = 0;
  /** @type {LiveBuffer | null} */
  #buffer = null;
  /** @type {{head: Head, data: Uint8Array} | null} */
  #init = null;
  /** @type {{time: number, start: number}[]} */
  #clock = [];
  #longest = 1;
  #failures = 0;
  #timer = 0;
  #pauseTimer = 0;
  /** The end of the video at the last check. */
  #end = 0;
  /** @type {(() => void) | null} */
  #unwatch = null;

  get camera() {
    return this.getAttribute("camera") ?? "";
  }

  /** When what is shown was captured, in milliseconds since 1970; null before anything is. */
  get currentWallTime() {
    return this.video.readyState ? this.wallTime(this.video.currentTime) : null;
  }

  /** The same of a time of the video element. @param {number} time @returns {number | null} */
  wallTime(time) {
    const entry = this.#clock.findLast((one) => one.time <= time + 0.001) ?? this.#clock[0];
    return entry ? entry.start + (time - entry.time) * 1000 : null;
  }

  connectedCallback() {
    this.video.ariaLabel = strings.live(this.camera);
    this.#picture.alt = strings.picture(this.camera);
    this.replaceChildren(this.video, this.#picture, this.canvas, this.#note);
    this.video.addEventListener("playing", this.#playing);
    document.addEventListener("visibilitychange", this.#keepUp);
    this.#unwatch = watch(this.camera, {
      take: (head, data) => this.#take(head, data),
      status: ({ pictures, error }) => (error ? this.#showNote(error) : pictures ? this.#onlyPictures(strings.onlyPictures, pictures) : null),
      lost: () => this.#restart(),
    });
  }

  disconnectedCallback() {
    this.#unwatch?.();
    this.#unwatch = null;
    document.removeEventListener("visibilitychange", this.#keepUp);
    this.#close();
    window.clearTimeout(this.#timer);
  }

  /** @param {Head} head @param {Uint8Array} data */
  #take(head, data) {
    if (head.kind === "init") {
      this.#init = { head, data };
      if (!plays(head.codec)) return this.#onlyPictures(strings.unplayable(head.codec), head.codec);
      if (this.#failures >= MOST_FAILURES) return;
      this.#showVideo();
    } else {
      if (!this.#buffer) return;
      this.#clock.push({ time: head.time, start: Date.parse(head.start) });
      if (this.#clock.length > 200) this.#clock.shift();
      this.#longest = Math.max(head.duration, 0.9 * this.#longest);
    }
    this.#buffer?.take(head, data);
  }

  #showVideo() {
    window.clearTimeout(this.#timer);
    this.#picture.hidden = true;
    this.video.hidden = this.canvas.hidden = false;
    this.#buffer ??= new LiveBuffer(this.video, this.#keepUp, () => this.#failed());
  }

  /** A decoder that gave up gets another chance, with the next keyframe. */
  #failed() {
    this.#failures += 1;
    const init = this.#init;
    this.#restart();
    if (this.#failures >= MOST_FAILURES) this.#onlyPictures(strings.broken, "error");
    else if (init) this.#take(init.head, init.data);
  }

  #restart() {
    this.#close();
    this.#clock = [];
    this.#init = null;
    if (this.#picture.hidden) this.#showNote(strings.waiting);
  }

  #close() {
    window.clearTimeout(this.#pauseTimer);
    this.#pauseTimer = this.#end = 0;
    this.#buffer?.end();
    this.#buffer = null;
    this.video.removeAttribute("src");
    this.video.load();
  }

  /** Stay near the live edge, and inside what there is. */
  #keepUp = () => {
    const { buffered, currentTime } = this.video;
    if (!buffered.length) return;
    const end = buffered.end(buffered.length - 1);
    const edge = Math.max(buffered.start(buffered.length - 1), end - this.lag - this.#longest);
    const behind = end - currentTime - this.lag - this.#longest;
    const next = following(buffered, currentTime);
    const hasGrown = end > this.#end;
    this.#end = end;
    if (this.lag && hasGrown && behind < -CATCH_UP_S) return this.#waitFor(-behind);
    if (behind > JUMP_S) this.video.currentTime = edge;
    else if (next !== null) this.video.currentTime = next;
    this.video.playbackRate = behind > CATCH_UP_S ? FASTER : 1;
    if (this.video.paused && !this.#pauseTimer) void this.video.play().catch(() => {});
  };

  /** Pause while the video is ahead of its lag. @param {number} seconds */
  #waitFor(seconds) {
    window.clearTimeout(this.#pauseTimer);
    this.video.pause();
    this.#pauseTimer = window.setTimeout(() => {
      this.#pauseTimer = 0;
      void this.video.play().catch(() => {});
    }, seconds * 1000);
  }

  #playing = () => {
    this.#note.hidden = true;
  };

  /** @param {string} text */
  #showNote(text) {
    this.#note.textContent = text;
    this.#note.hidden = false;
  }

  /** @param {string} text @param {string} why */
  #onlyPictures(text, why) {
    this.#close();
    this.#showNote(text);
    this.video.hidden = this.canvas.hidden = true;
    this.#picture.hidden = false;
    this.dispatchEvent(new CustomEvent("unplayable", { detail: why }));
    this.#nextPicture();
  }

  #nextPicture() {
    window.clearTimeout(this.#timer);
    if (!this.isConnected) return;
    if (!document.hidden) this.#picture.src = url(`cameras/${this.camera}/picture`, { width: 960, n: Date.now() });
    this.#timer = window.setTimeout(() => this.#nextPicture(), PICTURE_MS);
  }
}

/**
 * Where to go on where there is nothing to show: the beginning of what follows; null where there is something, or
 * nothing follows.
 * @param {TimeRanges} buffered
 * @param {number} time
 * @returns {number | null}
 */
function following(buffered, time) {
  for (let n = 0; n < buffered.length; n += 1) {
    if (time < buffered.start(n)) return buffered.start(n);
    if (time < buffered.end(n) - GAP_S) return null;
  }
  return null;
}

customElements.define("td-player", Player);

/** @param {string} camera @param {{lag?: number}} [options] @returns {Player} */
export function player(camera, { lag = 0 } = {}) {
  const element = /** @type {Player} */ (document.createElement("td-player"));
  element.setAttribute("camera", camera);
  element.lag = lag;
  return element;
}
