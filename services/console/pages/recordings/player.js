/** The player: recorded video with the time at which it was filmed, and what moves it. */

import { errorText, isTransient } from "../api.js";
import { fill, h, setText } from "../parts/dom.js";
import { clock, duration, iso } from "../parts/format.js";
import { MINUTE, SECOND } from "./days.js";
import { Playback, Unplayable } from "./playback.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Span} Span */

const texts = strings.player;
const SPEEDS = [0.5, 1, 2, 4, 8];
const AGAIN_MS = 3000;
/** With the keys. */
export const STEP = MINUTE;
export const LITTLE = 5 * SECOND;

export class Player {
  /** @type {Playback | null} */
  #playback = null;
  #timer = 0;
  #isFailing = false;

  /**
   * @param {string} camera
   * @param {(time: number) => void} moved what is shown is of another time
   * @param {(hole: Span) => string} why there is no video
   */
  constructor(camera, moved, why) {
    this.camera = camera;
    this.#moved = moved;
    this.#why = why;
    this.video = h("video", { muted: true, playsInline: true, preload: "auto", "aria-label": texts.video(camera), onclick: () => this.toggle() });
    this.clock = h("time", { class: "clock", "aria-label": texts.clock });
    this.note = h("p", { class: "small muted", role: "status" });
    const button = (/** @type {string} */ text, /** @type {() => void} */ onclick, /** @type {string} */ sign) =>
      h("button", { type: "button", title: text, onclick }, sign);
    this.button = h("button", { type: "button", class: "primary", onclick: () => this.toggle() }, texts.play);
    const speed = h("select", { onchange: () => (this.video.playbackRate = this.video.defaultPlaybackRate = Number(speed.value)) },
      SPEEDS.map((one) => h("option", { value: one, selected: one === 1 }, `${one}×`)));
    this.element = h("section", { class: "recordings-player", "aria-label": texts.video(camera) }, this.video,
      h("div", { class: "row" }, button(texts.before, () => this.step(-STEP), "−1 min"), this.button, button(texts.after, () => this.step(STEP), "+1 min"),
        this.clock, h("label", { class: "row speed" }, texts.speed, speed)),
      this.note);
  }

  #moved;
  #why;

  /** The moment that is shown; NaN: none. */
  get time() {
    return this.#playback?.time ?? NaN;
  }

  /** Play another day from now on. @param {Span} day */
  open(day) {
    this.close();
    this.day = day;
    try {
      this.#playback = new Playback(this.video, this.camera, day, {
        moved: () => this.#show(), jumped: (hole) => this.#jumped(hole), fed: () => this.#fed(), ended: () => fill(this.note, texts.ended),
        failed: (error) => this.#failed(error),
      });
    } catch {
      fill(this.note, texts.unplayable);
    }
  }

  /** @param {Span[]} stretches */
  setStretches(stretches) {
    this.#playback?.setStretches(stretches);
  }

  /** @param {number} time */
  seek(time) {
    this.#forget();
    this.#playback?.seek(time);
  }

  /** @param {number} by milliseconds */
  step(by) {
    if (!this.#playback || !this.day) return;
    this.seek(Math.min(this.day.until - 1, Math.max(this.day.since, this.#playback.time + by)));
  }

  play() {
    this.#playback?.play();
  }

  toggle() {
    if (this.video.paused) this.play();
    else this.video.pause();
  }

  close() {
    this.#playback?.end();
    this.#playback = null;
    this.#forget();
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#isFailing = false;
    fill(this.note);
  }

  /** An error stays until video plays again. */
  #fed() {
    if (this.#isFailing) this.#forget();
  }

  #show() {
    const { time } = this;
    if (Number.isNaN(time)) return;
    const text = clock(time);
    setText(this.clock, text);
    this.clock.dateTime = iso(time);
    const action = this.video.paused ? texts.play : texts.pause;
    setText(this.button, action);
    this.#moved(time);
  }

  /** @param {Span} hole */
  #jumped(hole) {
    const seconds = (hole.until - hole.since) / 1000;
    if (seconds >= 1) fill(this.note, texts.jumped(duration(Math.round(seconds)), this.#why(hole)));
  }

  /** @param {unknown} error */
  #failed(error) {
    fill(this.note, error instanceof Unplayable ? texts.unplayable : errorText(error));
    if (!isTransient(error)) return;
    this.#isFailing = true;
    const { time } = this;
    this.#timer = window.setTimeout(() => this.#playback?.seek(time), AGAIN_MS);
  }
}
