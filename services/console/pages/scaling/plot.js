/** Replicas over time of some policies, and those that arrivals keep busy. */

import { context2d, redrawOnChange } from "../parts/canvas.js";
import { h } from "../parts/dom.js";
import { clock, number } from "../parts/format.js";
import { strings } from "./strings.js";

const texts = strings.answer;
const HEIGHT = 260;
const LEFT = 44;
const BOTTOM = 24;
const TOP = 8;
const COLOURS = 6;
const BROKEN = [6, 4];
const DAY_S = 86_400;
const STEPS = [60, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, DAY_S, 2 * DAY_S];

export class Plot {
  /** @param {any} answer */
  constructor({ series, load, table, recommended, saved }) {
    this.series = series;
    this.busy = series.arrivals.map((/** @type {number} */ rate) => rate / load.service_rate);
    /** @type {Set<string>} */
    this.shown = new Set([recommended, saved.against]);
    // Those that are shown at first have colours of their own; where there are more than colours, lines are broken.
    /** @type {string[]} */
    this.names = [...this.shown, ...table.map((/** @type {any} */ row) => row.name).filter((/** @type {string} */ name) => !this.shown.has(name))];
    this.canvas = h("canvas", { height: HEIGHT, role: "img" });
    this.element = h("figure", { class: "card scaling-plot" }, h("h3", {}, texts.plot), this.canvas, this.#legend());
    this.end = redrawOnChange(this.canvas, () => this.#draw());
  }

  #legend() {
    const entry = (/** @type {string} */ name, /** @type {number} */ i) => h("label", { class: "row" },
      h("input", { type: "checkbox", checked: this.shown.has(name), onchange: (/** @type {Event} */ e) => {
        if (/** @type {HTMLInputElement} */ (e.target).checked) this.shown.add(name);
        else this.shown.delete(name);
        this.#draw();
      } }), h("span", { class: `key series-${(i % COLOURS) + 1}${i < COLOURS ? "" : " broken"}` }), name);
    return h("fieldset", { class: "row small" }, h("legend", {}, texts.shown), this.names.map(entry),
      h("span", { class: "row" }, h("span", { class: "key key-busy" }), texts.busy));
  }

  #draw() {
    const width = this.canvas.clientWidth;
    const context = width ? context2d(this.canvas, width, HEIGHT) : null;
    if (!context) return;
    this.canvas.setAttribute("aria-label", texts.plotLabel([...this.shown].join(", ")));
    const style = getComputedStyle(this.canvas);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    context.font = `12px ${style.fontFamily}`;
    const shown = this.names.map((name, i) => ({ name, i })).filter((s) => this.shown.has(s.name));
    const values = [...this.busy, ...shown.flatMap((s) => this.series.replicas[s.name])];
    const top = nice(Math.max(1, ...values));
    const count = this.busy.length;
    const x = (/** @type {number} */ n) => LEFT + (n / count) * (width - LEFT - 4);
    const y = (/** @type {number} */ n) => TOP + (1 - n / top) * (HEIGHT - TOP - BOTTOM);
    this.#axes(context, { x, y, top, width, line: colour("--line"), text: colour("--muted") });
    this.#area(context, x, y, colour("--muted"));
    for (const { name, i } of shown) {
      context.setLineDash(i < COLOURS ? [] : BROKEN);
      steps(context, this.series.replicas[name], x, y, colour(`--series-${(i % COLOURS) + 1}`));
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {{x: (n: number) => number, y: (n: number) => number, top: number, width: number, line: string, text: string}} of
   */
  #axes(context, { x, y, top, width, line, text }) {
    context.strokeStyle = line;
    context.fillStyle = text;
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let n = 0; n <= 4; n += 1) {
      const at = (top * n) / 4;
      context.beginPath();
      context.moveTo(LEFT, y(at));
      context.lineTo(width - 4, y(at));
      context.stroke();
      context.fillText(number(at, 2), LEFT - 6, y(at));
    }
    context.textAlign = "center";
    const length = this.busy.length * this.series.step_s;
    const step = STEPS.find((s) => length / s <= Math.max(2, width / 120)) ?? Math.ceil(length / 6 / DAY_S) * DAY_S;
    for (let at = step; at < length; at += step) {
      const px = x(at / this.series.step_s);
      if (px < width - 40) context.fillText(this.#time(at, step), px, HEIGHT - BOTTOM / 2);
    }
  }

  /** @param {number} at seconds from the beginning @param {number} step */
  #time(at, step) {
    if (this.series.begins) return clock(new Date(new Date(this.series.begins).getTime() + at * 1000)).replace(/:\d\d$/, "");
    return step >= DAY_S ? texts.daysAfter(number(at / DAY_S)) : texts.hoursAfter(number(at / 3600, 2));
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {(n: number) => number} x
   * @param {(n: number) => number} y
   * @param {string} colour
   */
  #area(context, x, y, colour) {
    context.fillStyle = colour;
    context.globalAlpha = 0.3;
    context.beginPath();
    context.moveTo(x(0), y(0));
    this.busy.forEach((/** @type {number} */ value, /** @type {number} */ n) => {
      context.lineTo(x(n), y(value));
      context.lineTo(x(n + 1), y(value));
    });
    context.lineTo(x(this.busy.length), y(0));
    context.fill();
    context.globalAlpha = 1;
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number[]} values
 * @param {(n: number) => number} x
 * @param {(n: number) => number} y
 * @param {string} colour
 */
function steps(context, values, x, y, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1.75;
  context.beginPath();
  values.forEach((value, n) => {
    context.lineTo(x(n), y(value));
    context.lineTo(x(n + 1), y(value));
  });
  context.stroke();
}

/** The next number that is round in quarters. @param {number} n */
function nice(n) {
  const power = 10 ** Math.floor(Math.log10(n));
  return ([1, 2, 4, 8, 10].find((m) => m * power >= n) ?? 10) * power;
}
