/** The clip of an incident, with where its objects were drawn over it. Without video the moment is chosen by hand. */

import { errorText, request, url } from "../api.js";
import { context2d } from "../parts/canvas.js";
import { fill, h } from "../parts/dom.js";
import { boxesAt, draw, tracks } from "./overlay.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Details} Details */

const texts = strings.detail;
const STEP_MS = 100;
let withBoxes = true;

export class Player {
  #ended = new AbortController();
  #drawn = "";
  /** Of the video's first frame, in milliseconds since 1970. */
  #start;
  #object = "";
  /** @type {Blob | null} */
  clip = null;

  /** @param {Details} details @param {number} at where it begins, in milliseconds; NaN: where the incident does */
  constructor(details, at) {
    this.#details = details;
    this.#tracks = tracks(details.paths);
    this.#last = Date.parse(details.card.last);
    this.#start = Date.parse(details.since);
    this.#at = Number.isNaN(at) ? Date.parse(details.card.start) : at;
    this.video = h("video", { controls: true, muted: true, playsInline: true, preload: "auto", "aria-label": texts.video, hidden: true });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.note = h("p", { class: "small muted", role: "status" }, details.card.video ? texts.loading : texts.expired);
    this.moment = h("input", { type: "range", min: Date.parse(details.since), max: Date.parse(details.until), step: STEP_MS, value: this.#at,
      hidden: true, "aria-label": texts.moment, oninput: () => this.#draw() });
    this.stage = h("div", { class: "review-stage" }, this.video, this.canvas);
    this.element = h("div", { class: "stack" }, this.stage, this.moment, this.note);
    this.#shape(details.width ?? 16, details.height ?? 9);
    this.#resizes = new ResizeObserver(() => this.#draw(true));
    this.#resizes.observe(this.stage);
    void this.#load();
  }

  #details;
  #tracks;
  #last;
  #at;
  #resizes;

  /** The moment that is shown, in milliseconds since 1970. */
  get time() {
    return this.video.hidden ? Number(this.moment.value) : this.#start + this.video.currentTime * 1000;
  }

  toggle() {
    if (this.video.hidden) return;
    if (this.video.paused) void this.video.play().catch(() => {});
    else this.video.pause();
  }

  boxes() {
    withBoxes = !withBoxes;
    this.#draw(true);
  }

  end() {
    this.#ended.abort();
    this.#resizes.disconnect();
    this.video.removeAttribute("src");
    this.video.load();
    if (this.#object) URL.revokeObjectURL(this.#object);
  }

  async #load() {
    const { card } = this.#details;
    if (!card.video) return this.#without(texts.expired);
    try {
      const answer = await request("GET", `incidents/${card.id}/clip`, { signal: this.#ended.signal });
      this.#start = Date.parse(answer.headers.get("X-From") ?? this.#details.since);
      this.clip = await answer.blob();
    } catch (error) {
      if (!this.#ended.signal.aborted) this.#without(errorText(error));
      return;
    }
    if (this.#ended.signal.aborted) return;
    this.#object = URL.createObjectURL(this.clip);
    this.#play(this.#object);
  }

  /** @param {string} source */
  #play(source) {
    const { video } = this;
    video.addEventListener("loadedmetadata", () => {
      this.#shape(video.videoWidth, video.videoHeight);
      video.currentTime = Math.max(0, Math.min(video.duration || 0, (this.#at - this.#start) / 1000));
      fill(this.note);
      video.hidden = false;
      this.#follow();
    });
    video.addEventListener("error", () => {
      video.hidden = true;
      this.#without(texts.unplayable);
    });
    for (const name of ["seeked", "timeupdate", "pause"]) video.addEventListener(name, () => this.#draw());
    video.src = source;
  }

  /** With each frame that is shown, where a browser says so. */
  #follow() {
    if (!("requestVideoFrameCallback" in this.video)) return;
    const next = () => {
      if (this.#ended.signal.aborted) return;
      this.#draw();
      this.video.requestVideoFrameCallback(next);
    };
    this.video.requestVideoFrameCallback(next);
  }

  /** @param {string} why */
  #without(why) {
    fill(this.note, why);
    this.stage.classList.add("blind");
    this.moment.hidden = false;
    if (this.#details.card.alert) this.#still();
    this.#draw(true);
  }

  /** The stored picture of its alert, behind the objects. */
  #still() {
    const image = h("img", { alt: texts.still, src: url(`incidents/${this.#details.card.id}/picture`, { width: 1280 }) });
    image.addEventListener("error", () => image.remove());
    image.addEventListener("load", () => this.#shape(image.naturalWidth, image.naturalHeight));
    this.stage.prepend(image);
  }

  /** @param {number} width @param {number} height */
  #shape(width, height) {
    this.stage.style.setProperty("--ratio", String(width && height ? width / height : 16 / 9));
  }

  /** As boxes change, not with each frame. @param {boolean} [force] */
  #draw(force = false) {
    const time = this.time;
    const boxes = withBoxes ? boxesAt(this.#tracks, this.#details.objects, time, this.#last) : [];
    const passed = this.#tracks.map((track) => track.times.findLastIndex((t) => t <= time));
    const now = JSON.stringify([boxes, withBoxes && passed]);
    if (now === this.#drawn && !force) return;
    this.#drawn = now;
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    const context = context2d(this.canvas, width, height);
    if (!context) return;
    draw({ context, width, height, style: getComputedStyle(this.stage) }, withBoxes ? this.#tracks : [], boxes, time);
  }
}
