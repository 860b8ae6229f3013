/** The timeline, moved and zoomed by pointer and by keyboard. */

import { context2d, redrawOnChange } from "../parts/canvas.js";
import { fill, h } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { paint, timeOf } from "./painting.js";
import { move, zoom } from "./span.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./types.js").TimelineData} TimelineData */
/** @typedef {import("./painting.js").Measures} Measures */

const texts = strings.timeline;
const ROW = 24;
const AXIS = 22;
const CLICK = 4;

export class Timeline {
  /** @type {TimelineData | null} */
  #data = null;
  /** @type {Span} */
  #span = { since: 0, until: 1 };
  /** @type {{camera: string, start: number} | null} */
  #open = null;
  /** @type {{x: number, from: Span, far: boolean} | null} */
  #dragged = null;

  /**
   * @param {(span: Span | null) => void} change the time is another; null: the last 24 hours
   * @param {(camera: string, since: number, until: number) => void} pick called with the clicked bucket
   */
  constructor(change, pick) {
    this.#change = change;
    this.#pick = pick;
    this.canvas = h("canvas", { role: "img", "aria-label": texts.name });
    this.scroll = h("div", { class: "rows" }, this.canvas);
    this.note = h("output", { class: "small muted" });
    const button = (/** @type {string} */ text, /** @type {string} */ sign, /** @type {() => Span} */ to) =>
      h("button", { type: "button", "aria-label": text, title: text, onclick: () => this.#go(to()) }, sign);
    this.element = h("section", { class: "review-timeline card", tabIndex: 0, role: "group", "aria-label": `${texts.name}. ${texts.help}` },
      h("div", { class: "head" }, this.note, h("div", { class: "row" },
        button(texts.earlier, "←", () => move(this.#span, -0.5)), button(texts.later, "→", () => move(this.#span, 0.5)),
        button(texts.closer, "+", () => zoom(this.#span, 0.5)), button(texts.wider, "−", () => zoom(this.#span, 2)))),
      this.scroll);
    this.#listen();
    this.end = redrawOnChange(this.element, () => this.draw());
  }

  #change;
  #pick;

  /** @param {TimelineData} data */
  show(data) {
    this.#data = data;
    this.#span = { since: Date.parse(data.since), until: Date.parse(data.until) };
    const count = data.rows.flatMap((row) => row.buckets).reduce((sum, bucket) => sum + bucket.count, 0);
    const summary = texts.summary(count, data.rows.length, clock(this.#span.since), clock(this.#span.until));
    this.canvas.setAttribute("aria-label", `${texts.name}: ${summary}`);
    this.#showNote();
    this.draw();
  }

  /** @param {import("./types.js").Card | null} card */
  mark(card) {
    this.#open = card && { camera: card.camera, start: Date.parse(card.start) };
    this.draw();
  }

  /** @returns {Measures} */
  #measures() {
    const width = Math.max(200, this.scroll.clientWidth);
    return { width, height: AXIS + ROW * (this.#data?.rows.length ?? 0), label: width > 600 ? 140 : 84, row: ROW, axis: AXIS };
  }

  draw() {
    if (!this.#data) return;
    const m = this.#measures();
    this.canvas.style.width = `${m.width}px`;
    this.canvas.style.height = `${m.height}px`;
    const c = context2d(this.canvas, m.width, m.height);
    if (!c) return;
    const style = getComputedStyle(document.documentElement);
    paint(c, m, this.#span, this.#data, this.#open, (name) => style.getPropertyValue(name).trim());
  }

  /** @param {Span} span */
  #go(span) {
    this.#span = span;
    this.draw();
    this.#change(span);
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      this.#dragged = { x: e.offsetX, from: this.#span, far: false };
    });
    canvas.addEventListener("pointermove", (e) => this.#point(e));
    canvas.addEventListener("pointerleave", () => this.#showNote());
    canvas.addEventListener("pointercancel", () => (this.#dragged = null));
    canvas.addEventListener("pointerup", (e) => {
      const dragged = this.#dragged;
      this.#dragged = null;
      if (dragged?.far) this.#change(this.#span);
      else this.#click(e);
    });
    // Browsers report a pinch on a touchpad with Ctrl; without it the page scrolls.
    canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey) return;
      e.preventDefault();
      const m = this.#measures();
      const around = Math.min(1, Math.max(0, (e.offsetX - m.label) / (m.width - m.label)));
      this.#go(zoom(this.#span, e.deltaY > 0 ? 1.25 : 0.8, around));
    }, { passive: false });
    this.element.addEventListener("keydown", (e) => this.#key(e));
  }

  /** @param {KeyboardEvent} e */
  #key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => this.#go(move(this.#span, -0.25)),
      ArrowRight: () => this.#go(move(this.#span, 0.25)),
      "+": () => this.#go(zoom(this.#span, 0.5)),
      "=": () => this.#go(zoom(this.#span, 0.5)),
      "-": () => this.#go(zoom(this.#span, 2)),
      0: () => this.#change(null),
    };
    const action = keys[e.key];
    if (!action) return;
    e.preventDefault();
    action();
  }

  /** @param {PointerEvent} e */
  #point(e) {
    const m = this.#measures();
    const dragged = this.#dragged;
    if (dragged) {
      dragged.far ||= Math.abs(e.offsetX - dragged.x) > CLICK;
      if (!dragged.far) return;
      this.#span = move(dragged.from, (dragged.x - e.offsetX) / (m.width - m.label));
      this.draw();
      return;
    }
    this.#showNote(this.#about(e));
  }

  /** @param {string} [what] that is under the pointer */
  #showNote(what) {
    const rows = this.#data?.rows.length ?? 0;
    fill(this.note, what || (this.#data?.next ? texts.more : rows ? `${clock(this.#span.since)} – ${clock(this.#span.until)}` : texts.empty));
  }

  /** The row and the part of the time that an event is at. @param {PointerEvent} e */
  #hit(e) {
    const m = this.#measures();
    const row = this.#data?.rows[Math.floor((e.offsetY - AXIS) / ROW)];
    if (!this.#data || !row || e.offsetY < AXIS || e.offsetX < m.label) return null;
    const since = Date.parse(this.#data.since);
    const part = (Date.parse(this.#data.until) - since) / this.#data.parts;
    const time = timeOf(e.offsetX, this.#span, m);
    // A bar may be wider than its part of the time.
    const near = Math.max(1, Math.ceil((3 * (this.#span.until - this.#span.since)) / (m.width - m.label) / part));
    const n = Math.floor((time - since) / part);
    const bucket = row.buckets.find((b) => b.n === n) ?? row.buckets.findLast((b) => b.n < n && n - b.n <= near);
    return { row, bucket, time, from: since + (bucket?.n ?? n) * part, to: since + ((bucket?.n ?? n) + 1) * part };
  }

  /** @param {PointerEvent} e */
  #about(e) {
    const hit = this.#hit(e);
    if (!hit) return "";
    const { row, bucket, time, from, to } = hit;
    if (bucket) return texts.bucket(row.camera, clock(from), clock(to), bucket.count, bucket.unreviewed);
    const gap = row.gaps.find((g) => Date.parse(g.since) <= time && (!g.until || time < Date.parse(g.until)) && time < Date.now());
    return gap ? texts.offline(row.camera, clock(gap.since), gap.until ? clock(gap.until) : texts.now, gap.reason) : "";
  }

  /** @param {PointerEvent} e */
  #click(e) {
    const hit = this.#hit(e);
    if (hit?.bucket) this.#pick(hit.row.camera, hit.from, hit.to);
  }
}
