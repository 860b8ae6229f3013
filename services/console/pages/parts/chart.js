/**
 * `<td-chart>`: series over time on a canvas, with markers, values where the pointer is, and a range that is chosen by
 * dragging or by keys.
 *
 *     const chart = h("td-chart", {title: "Waiting"});
 *     chart.show({since, step, points, series, markers, unit: "segments"});
 *     chart.addEventListener("zoom", (event) => event.detail.since …);      // Unix milliseconds
 *     chart.addEventListener("cursor", (event) => others.forEach((one) => one.point(event.detail.at)));
 *
 * Keys: left and right move the cursor, with Shift they choose a range; Enter looks at it, + and - look closer and
 * wider, Escape or 0 goes back to all.
 */

import { redrawOnChange } from "./canvas.js";
import { draw, plot } from "./chart_draw.js";
import { around, indexAt } from "./chart_scale.js";
import { strings } from "./chart_strings.js";
import { fill, h } from "./dom.js";
import { clock, number } from "./format.js";

/** @typedef {import("./chart_draw.js").Data} Data */

// A choice of less is a click.
const LEAST_PX = 6;
// A marker that is so near is what the pointer is at.
const NEAR_PX = 8;

export class Chart extends HTMLElement {
  /** @type {Data | null} */
  #data = null;
  /** @type {import("./chart_draw.js").Pointer} */
  #pointer = { cursor: null, from: null };
  /** The requested range, until it is shown. @type {{since: number, until: number} | null} */
  #pendingRange = null;
  #isScheduled = false;
  #canvas = h("canvas", { "aria-hidden": "true" });
  #legend = h("ul", { class: "legend" });
  #status = h("p", { class: "sr", role: "status" });
  #at = h("p", { class: "at muted small" });
  /** @type {() => void} */
  #end = () => {};

  connectedCallback() {
    if (!this.#canvas.isConnected) {
      const keys = h("div", { class: "plot", tabIndex: 0, role: "group", "aria-label": strings.keys(this.title) }, this.#canvas);
      this.append(h("div", { class: "head" }, h("h3", {}, this.title), this.#at), keys, this.#legend, this.#status);
      this.removeAttribute("title");
      this.#listen(keys);
    }
    this.#end = redrawOnChange(this, () => this.#draw());
  }

  disconnectedCallback() {
    this.#end();
  }

  /** What to draw from now on. A value that is not known is null. @param {Data} data */
  show(data) {
    this.#data = data;
    this.#pendingRange = null;
    this.#updateLegend();
    this.#draw();
  }

  /** Put the cursor there; null: nowhere. @param {number | null} at Unix milliseconds */
  point(at) {
    this.#pointer = { ...this.#pointer, cursor: at };
    this.#updateLegend();
    this.#draw();
  }

  /** @param {HTMLElement} keys */
  #listen(keys) {
    this.#canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.#data) return;
      this.#canvas.setPointerCapture(event.pointerId);
      this.#pointer = { cursor: this.#time(event), from: this.#time(event) };
    });
    this.#canvas.addEventListener("pointermove", (event) => this.#move(this.#time(event)));
    this.#canvas.addEventListener("pointerup", (event) => this.#drop(event));
    this.#canvas.addEventListener("pointercancel", () => this.#give(null));
    this.#canvas.addEventListener("pointerleave", () => this.#pointer.from === null && this.#move(null));
    this.#canvas.addEventListener("dblclick", () => this.#emit("reset", {}));
    keys.addEventListener("keydown", (event) => this.#key(event));
    keys.addEventListener("blur", () => this.#give(null));
  }

  /** @param {PointerEvent} event */
  #time(event) {
    const data = /** @type {Data} */ (this.#data);
    const { left, right } = plot(this.#canvas.clientWidth, this.#canvas.clientHeight);
    const share = Math.min(1, Math.max(0, (event.offsetX - left) / (right - left)));
    return data ? data.since + share * data.step * data.points : 0;
  }

  /** @param {number | null} at */
  #move(at) {
    if (!this.#data) return;
    this.point(at);
    this.#emit("cursor", { at });
  }

  /** Nothing is chosen any more. @param {number | null} at where the cursor is then */
  #give(at) {
    this.#pointer = { cursor: at, from: null };
    this.#move(at);
  }

  /** @param {PointerEvent} event */
  #drop(event) {
    const { from } = this.#pointer;
    const at = this.#data ? this.#time(event) : null;
    if (from !== null && at !== null && Math.abs(this.#px(at) - this.#px(from)) >= LEAST_PX) this.#zoom(from, at);
    this.#give(at);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const data = this.#data;
    if (!data) return;
    const until = data.since + data.step * data.points;
    const cursor = this.#pointer.cursor ?? until - data.step / 2;
    const step = (event.ctrlKey ? 10 : 1) * data.step;
    const moves = /** @type {Record<string, number>} */ ({
      ArrowLeft: cursor - step, ArrowRight: cursor + step, Home: data.since + data.step / 2, End: until - data.step / 2,
    });
    if (event.key in moves) {
      const at = Math.min(until - data.step / 2, Math.max(data.since + data.step / 2, moves[event.key] ?? cursor));
      this.#pointer.from = event.shiftKey ? this.#pointer.from ?? cursor : null;
      this.#move(at);
      this.#status.textContent = this.#sentence(at);
    } else if (event.key === "Enter" && this.#pointer.from !== null) this.#zoom(this.#pointer.from, cursor);
    else if (event.key === "+" || event.key === "-") this.#zoomAround(cursor, event.key === "+" ? 0.5 : 2);
    else if (event.key === "Escape" && this.#pointer.from !== null) this.#give(cursor);
    else if (event.key === "Escape" || event.key === "0") this.#emit("reset", {});
    else return;
    event.preventDefault();
  }

  /** @param {number} at @param {number} factor */
  #zoomAround(at, factor) {
    const data = /** @type {Data} */ (this.#data);
    // Keys come faster than data.
    const { since, until } = this.#pendingRange ?? { since: data.since, until: data.since + data.step * data.points };
    this.#ask(around(since, until, Math.min(until, Math.max(since, at)), factor));
  }

  /** @param {number} one @param {number} other */
  #zoom(one, other) {
    this.#pointer.from = null;
    this.#ask({ since: Math.min(one, other), until: Math.max(one, other) });
  }

  /** @param {{since: number, until: number}} range */
  #ask(range) {
    this.#pendingRange = range;
    this.#emit("zoom", range);
  }

  /** @param {string} name @param {any} detail */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @param {number} at */
  #px(at) {
    const data = /** @type {Data} */ (this.#data);
    const { left, right } = plot(this.#canvas.clientWidth, this.#canvas.clientHeight);
    return left + ((at - data.since) / (data.step * data.points)) * (right - left);
  }

  /** The legend has the values at the cursor, or the newest. */
  #updateLegend() {
    const data = this.#data;
    if (!data) return;
    const index = this.#pointer.cursor === null ? null : indexAt(this.#pointer.cursor, data);
    fill(this.#legend, data.series.map((series) =>
      h("li", {}, h("span", { class: `key series-${series.color}${series.dashed ? " dashed" : ""}` }), series.label, " ",
        h("b", {}, number(value(series.values, index), 2)))));
    const near = this.#near();
    const time = index === null ? "" : clock(data.since + index * data.step);
    this.#at.textContent = [time, ...near.map((marker) => marker.text)].filter(Boolean).join(" · ");
  }

  #near() {
    const { cursor } = this.#pointer;
    if (cursor === null || !this.#data) return [];
    return this.#data.markers.filter((marker) => Math.abs(this.#px(marker.time) - this.#px(cursor)) <= NEAR_PX).slice(0, 3);
  }

  /** @param {number} at */
  #sentence(at) {
    const data = /** @type {Data} */ (this.#data);
    const index = indexAt(at, data);
    const values = data.series.map((series) => `${series.label} ${number(value(series.values, index), 2)}`);
    return [clock(at), ...values, ...this.#near().map((marker) => marker.text)].join(", ");
  }

  #draw() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      if (this.#data && this.isConnected) draw(this.#canvas, this.#data, this.#pointer);
    });
  }
}

/** The value at an index; without one, the newest. @param {(number | null)[]} values @param {number | null} index */
function value(values, index) {
  return index === null ? values.findLast((one) => one !== null) : values[index];
}

customElements.define("td-chart", Chart);
