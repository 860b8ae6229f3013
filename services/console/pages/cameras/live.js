/** A camera live, with what is detected in it drawn over the frame that it is detected in. */

import { h, setText } from "../parts/dom.js";
import { duration } from "../parts/format.js";
import { Overlay } from "../parts/overlay.js";
import { player } from "../parts/player.js";
import { strings } from "./strings.js";

// The picture waits for its boxes, but no longer than this.
const MOST_LAG_S = 6;
const DELAY_MS = 500;
// Detections arrive together for all frames of a segment, about a second.
const HALF_SEGMENT_S = 0.5;
const SPARE_S = 0.4;

export class LiveView {
  #timer = 0;
  #latency = 0;

  /** @param {string} id @param {boolean} isSynced whether the picture waits for its boxes */
  constructor(id, isSynced) {
    this.isSynced = isSynced;
    this.player = player(id);
    this.overlay = new Overlay(this.player.canvas, this.player.video, (time) => this.player.wallTime(time));
    this.delay = h("span", { class: "delay small", hidden: true });
    this.element = h("div", { class: "live" }, this.player, this.delay);
    this.player.addEventListener("unplayable", () => this.#showDelay());
    this.#timer = window.setInterval(() => this.#showDelay(), DELAY_MS);
  }

  end() {
    window.clearInterval(this.#timer);
    this.overlay.end();
    this.element.remove();
  }

  /** How the camera does now. @param {any} now */
  update(now) {
    if (now.latency_ms !== null) this.#latency = now.latency_ms / 1000;
    const lag = this.isSynced ? Math.min(MOST_LAG_S, Math.max(0, this.#latency - HALF_SEGMENT_S + SPARE_S)) : 0;
    // Each change is caught up with by playing a little faster or slower: small ones are let be.
    if (Math.abs(lag - this.player.lag) > SPARE_S) this.player.lag = lag;
  }

  /** @param {string} kind @param {any} event */
  take(kind, event) {
    if (kind === "detections") this.overlay.detections(event);
    else if (kind === "tracks") this.overlay.tracks(event);
  }

  /** Zones and lines of rules. @param {any} rules */
  places(rules) {
    this.overlay.places([
      ...Object.entries(rules?.zones ?? {}).map(([name, { polygon }]) => ({ name, points: polygon })),
      ...Object.entries(rules?.lines ?? {}).map(([name, line]) => ({ name, points: [line.from, line.to], isLine: true })),
    ]);
  }

  /** How long ago what is shown was captured. */
  #showDelay() {
    const shown = this.player.currentWallTime;
    this.delay.hidden = shown === null || this.player.video.hidden;
    if (shown === null) return;
    const text = strings.behind(duration(Math.max(0, Math.round((Date.now() - shown) / 100) / 10)));
    setText(this.delay, text);
  }
}
