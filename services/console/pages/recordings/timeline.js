/** The timeline of a day: moved, zoomed, played from, and a part of it chosen, by pointer and by keyboard. */

import { fill, h, svg } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { HOUR, MINUTE, SECOND } from "./days.js";
import { choice, HEIGHT, moment, paint } from "./painting.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./painting.js").Data} Data */

const texts = strings.timeline;
/** How much is shown: the day at first. */
const VIEWS = [Infinity, 6 * HOUR, HOUR, 10 * MINUTE];
/** By how much an arrow moves in each of these. */
const STEPS = [10 * MINUTE, MINUTE, 10 * SECOND, SECOND];
const FURTHER = 6;
const CLICK_PX = 5;
const MARK_PX = 6;

export class Timeline {
  /** @type {Data} */
  #data = { stretches: [], gaps: [], marks: [] };
  /** @type {Span} */
  #day = { since: 0, until: 1 };
  /** @type {Span} */
  #view = { since: 0, until: 1 };
  #zoom = 0;
  #time = NaN;
  /** @type {Span | null} */
  #chosen = null;
  /** @type {{x: number, time: number, far: boolean} | null} */
  #dragged = null;

  /** @param {(time: number) => void} pick @param {(span: Span) => void} choose */
  constructor(pick, choose) {
    this.#pick = pick;
    this.#choose = choose;
    this.picture = svg("svg", { width: "100%", height: HEIGHT, "aria-hidden": "true" });
    this.back = svg("g", {});
    this.front = svg("g", {});
    this.picture.append(this.back, this.front);
    this.slider = h("div", { class: "track", tabIndex: 0, role: "slider", "aria-label": `${texts.name}. ${texts.help}` }, this.picture);
    this.shown = h("strong", {});
    this.note = h("span", { class: "muted small" });
    const button = (/** @type {string} */ text, /** @type {string} */ sign, /** @type {() => void} */ onclick) =>
      h("button", { type: "button", "aria-label": text, title: text, onclick }, sign);
    this.element = h("section", { class: "recordings-timeline card", "aria-label": texts.name },
      h("div", { class: "head" }, h("div", { class: "row" }, this.shown, this.note), h("div", { class: "row" },
        button(texts.earlier, "←", () => this.#move(-1)), button(texts.later, "→", () => this.#move(1)),
        button(texts.closer, "+", () => this.zoom(1)), button(texts.wider, "−", () => this.zoom(-1)))),
      this.slider,
      h("p", { class: "row small muted", "aria-hidden": "true" }, Object.entries(texts.key).map(([kind, text]) => h("span", { class: `sign of-${kind}` }, text))));
    this.#listen();
    this.#resizes = new ResizeObserver(() => this.#draw());
    this.#resizes.observe(this.slider);
  }

  #pick;
  #choose;
  #resizes;

  /** @param {Span} day @param {Data} data */
  show(day, data) {
    if (day.since !== this.#day.since) {
      this.#day = day;
      this.#zoom = 0;
      this.#view = day;
    }
    this.#data = data;
    this.#draw();
  }

  /** Move the marker of the shown moment; the view follows. @param {number} time */
  point(time) {
    if (Math.floor(time / SECOND) === Math.floor(this.#time / SECOND)) return;
    this.#time = time;
    const isOut = time < this.#view.since || time >= this.#view.until;
    if (isOut && time >= this.#day.since && time < this.#day.until) this.#setView(this.#view.until - this.#view.since, time);
    this.#describe();
    this.#mark();
  }

  /** @param {Span | null} span */
  mark(span) {
    this.#chosen = span;
    this.#mark();
  }

  /** @param {number} by */
  zoom(by) {
    this.#zoom = Math.min(VIEWS.length - 1, Math.max(0, this.#zoom + by));
    const middle = (this.#view.since + this.#view.until) / 2;
    const isSeen = this.#time >= this.#view.since && this.#time < this.#view.until;
    this.#setView(VIEWS[this.#zoom] ?? Infinity, isSeen ? this.#time : middle);
  }

  end() {
    this.#resizes.disconnect();
  }

  /** Show so much around a time, within the day. @param {number} length @param {number} around */
  #setView(length, around) {
    const { since, until } = this.#day;
    const most = Math.min(length, until - since);
    const from = Math.min(until - most, Math.max(since, around - most / 2));
    this.#view = { since: from, until: from + most };
    this.#draw();
  }

  /** @param {number} by */
  #move(by) {
    const length = this.#view.until - this.#view.since;
    this.#setView(length, this.#view.since + length / 2 + by * length);
  }

  #draw() {
    this.back.replaceChildren(...paint(this.#data, this.#view, this.slider.clientWidth || 800));
    fill(this.shown, texts.shown(minute(this.#view.since), this.#view.until === this.#day.until ? "24:00" : minute(this.#view.until)));
    this.#describe();
    this.#mark();
  }

  #mark() {
    const isSeen = this.#time >= this.#view.since && this.#time <= this.#view.until;
    this.front.replaceChildren(...(this.#chosen ? [choice(this.#chosen, this.#view)] : []), ...(isSeen ? [moment(this.#time, this.#view)] : []));
  }

  /** For those who can't see it. */
  #describe() {
    const time = Number.isNaN(this.#time) ? this.#day.since : this.#time;
    const set = (/** @type {string} */ name, /** @type {string | number} */ value) => this.slider.setAttribute(`aria-value${name}`, String(value));
    set("min", this.#day.since);
    set("max", this.#day.until);
    set("now", Math.min(this.#day.until, Math.max(this.#day.since, Math.round(time))));
    set("text", texts.at(clock(time), this.what(time)));
  }

  /** What there is at a time, in words. @param {number} time */
  what(time) {
    const has = (/** @type {Span} */ span) => span.since <= time && time < span.until;
    const gap = this.#data.gaps.find(has);
    const near = (MARK_PX * (this.#view.until - this.#view.since)) / (this.slider.clientWidth || 800);
    const marks = this.#data.marks.filter((mark) => Math.abs(mark.start - time) <= near).slice(0, 3);
    const video = this.#data.stretches.some(has) ? texts.recorded : gap ? texts.missing(gap.cause) : texts.nothing;
    return [video, ...marks.map((mark) => texts.incident(mark.rule))].join(", ");
  }

  #listen() {
    const { slider } = this;
    slider.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      slider.setPointerCapture(event.pointerId);
      this.#dragged = { x: event.clientX, time: this.#timeOf(event), far: false };
    });
    slider.addEventListener("pointermove", (event) => this.#point(event));
    slider.addEventListener("pointerleave", () => fill(this.note));
    slider.addEventListener("pointercancel", () => (this.#dragged = null));
    slider.addEventListener("pointerup", () => {
      const dragged = this.#dragged;
      this.#dragged = null;
      if (dragged && !dragged.far) this.#pick(dragged.time);
    });
    slider.addEventListener("keydown", (event) => this.#key(event));
  }

  /** @param {PointerEvent} event */
  #timeOf(event) {
    const { left, width } = this.slider.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - left) / width));
    return Math.min(this.#day.until - 1, this.#view.since + share * (this.#view.until - this.#view.since));
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const time = this.#timeOf(event);
    fill(this.note, texts.at(clock(time), this.what(time)));
    const dragged = this.#dragged;
    if (!dragged) return;
    dragged.far ||= Math.abs(event.clientX - dragged.x) > CLICK_PX;
    if (dragged.far) this.#choose({ since: Math.min(dragged.time, time), until: Math.max(dragged.time, time) });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[this.#zoom] ?? SECOND;
    const time = Number.isNaN(this.#time) ? this.#day.since : this.#time;
    const { stretches } = this.#data;
    /** @type {Record<string, number>} */
    const moves = {
      ArrowLeft: time - step, ArrowDown: time - step, ArrowRight: time + step, ArrowUp: time + step,
      PageUp: time + FURTHER * step, PageDown: time - FURTHER * step,
      Home: stretches[0]?.since ?? this.#day.since, End: (stretches.at(-1)?.until ?? this.#day.until) - SECOND,
    };
    const next = moves[event.key];
    if (next === undefined) return;
    event.preventDefault();
    this.#pick(Math.min(this.#day.until - 1, Math.max(this.#day.since, next)));
  }
}

/** @param {number} time */
function minute(time) {
  return new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}
