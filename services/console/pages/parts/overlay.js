/**
 * What was seen, drawn over a video, for the frame that is shown: boxes, labels, tracks, zones and lines.
 *
 *     const overlay = new Overlay(player.canvas, player.video, (time) => player.wallTime(time));
 *     overlay.detections(event);                  // as the events come
 *     overlay.end();
 */

import { drawMarks, drawPlaces, fit } from "./overlay_draw.js";

/**
 * Something in a frame. box: shares of width and height.
 * @typedef {{box: [number, number, number, number], label: string, id?: string, score?: number}} Mark
 */
/** A zone has corners, a line two ends. @typedef {{name: string, points: [number, number][], isLine?: boolean}} Place */

/** How long frames stay in memory, and how long each is shown. */
const HISTORY_MS = 60_000;
const SHOWN_MS = 1500;

export class Overlay {
  /** By the time of their frame, in order. @type {{time: number, marks: Mark[]}[]} */
  #frames = [];
  /** @type {Place[]} */
  #places = [];
  /** @type {{time: number, marks: Mark[]} | null | undefined} */
  #drawn = undefined;
  #ended = false;
  #resized = new ResizeObserver(() => this.#redraw());

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLVideoElement} video
   * @param {(time: number) => number | null} wall when a frame was captured that the video has at a time
   */
  constructor(canvas, video, wall) {
    this.canvas = canvas;
    this.video = video;
    this.wall = wall;
    this.#resized.observe(video);
    this.#wait();
  }

  /** @param {{frames: {time: string, objects: Mark[]}[]}} event */
  detections({ frames }) {
    for (const { time, objects } of frames) this.#add(Date.parse(time), objects);
  }

  /** Tracks name what detections only show. @param {{tracks: {id: string, label: string, path: {time: string, box: Mark["box"]}[]}[]}} event */
  tracks({ tracks }) {
    for (const { id, label, path } of tracks) for (const { time, box } of path) this.#add(Date.parse(time), [{ box, label, id }]);
  }

  /** @param {Place[]} places */
  places(places) {
    this.#places = places;
    this.#redraw();
  }

  end() {
    this.#ended = true;
    this.#resized.disconnect();
    fit(this.canvas, this.video);
  }

  /** What is shown now, for tests and for those who can't see it. @returns {Mark[]} */
  get marks() {
    return this.#drawn?.marks ?? [];
  }

  /** @param {number} time @param {Mark[]} marks */
  #add(time, marks) {
    if (!Number.isFinite(time)) return;
    let at = this.#frames.length;
    while (at > 0 && /** @type {{time: number}} */ (this.#frames[at - 1]).time > time) at -= 1;
    const before = this.#frames[at - 1];
    if (before?.time === time) before.marks = merge(before.marks, marks);
    else this.#frames.splice(at, 0, { time, marks });
    const newest = this.#frames.at(-1)?.time ?? 0;
    while (this.#frames[0] && this.#frames[0].time < newest - HISTORY_MS) this.#frames.shift();
    if (before && before === this.#drawn) this.#redraw();
  }

  #wait() {
    if (this.#ended) return;
    const video = /** @type {any} */ (this.video);
    if (video.requestVideoFrameCallback) {
      video.requestVideoFrameCallback((/** @type {number} */ _, /** @type {{mediaTime: number}} */ frame) => this.#show(frame.mediaTime));
    } else requestAnimationFrame(() => this.#show(this.video.currentTime));
  }

  /** @param {number} time */
  #show(time) {
    if (this.#ended) return;
    const wall = this.wall(time);
    const frame = wall === null ? null : this.#at(wall);
    if (frame !== this.#drawn) {
      this.#drawn = frame;
      this.#redraw();
    }
    this.#wait();
  }

  /** The frame nearest at or before a time. @param {number} wall */
  #at(wall) {
    let [low, high] = [0, this.#frames.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      // Headers have milliseconds: a frame may be a little later than its video says.
      if (/** @type {{time: number}} */ (this.#frames[middle]).time <= wall + 2) low = middle + 1;
      else high = middle;
    }
    const frame = this.#frames[low - 1];
    return frame && frame.time > wall - SHOWN_MS ? frame : null;
  }

  #redraw() {
    if (this.#ended) return;
    const context = fit(this.canvas, this.video);
    if (!context) return;
    drawPlaces(context, this.#places);
    drawMarks(context, this.marks);
  }
}

/**
 * Both, where a track takes the place of the object that it follows.
 * @param {Mark[]} before
 * @param {Mark[]} more
 */
function merge(before, more) {
  const isSame = (/** @type {Mark} */ a, /** @type {Mark} */ b) => a.box.every((x, n) => Math.abs(x - (b.box[n] ?? 0)) < 0.002);
  const rest = before.filter((old) => !more.some((one) => isSame(one, old)));
  const named = more.map((one) => (one.id ? one : (before.find((old) => old.id && isSame(one, old)) ?? one)));
  return [...rest, ...named];
}
