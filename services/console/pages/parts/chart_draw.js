/** Draws a chart on a canvas: axes, series, markers, what is chosen and where the cursor is. */

import { context2d } from "./canvas.js";
import { largest, ticks, timeLabel, timeTicks } from "./chart_scale.js";
import { number } from "./format.js";

/**
 * @typedef {{name: string, label: string, color: number, values: (number | null)[], steps?: boolean, fill?: boolean,
 *   dashed?: boolean}} Series  color: 1 to 6, of `--series-…`; steps: it stays until the next point.
 * @typedef {{time: number, until?: number, kind: string, text: string, href?: string}} Marker  in Unix milliseconds
 * @typedef {{since: number, step: number, points: number, series: Series[], markers: Marker[], unit: string}} Data
 * @typedef {{cursor: number | null, from: number | null}} Pointer  Unix milliseconds; from: where a choice began
 */

const LEFT = 52, RIGHT = 10, TOP = 26, BOTTOM = 24;
const MARKER_COLORS = /** @type {Record<string, string>} */ ({
  incident: "--warn", critical: "--bad", camera: "--info", server: "--bad", deployment: "--series-5",
});

/** Where the plot is on a canvas. @param {number} width @param {number} height */
export function plot(width, height) {
  return { left: LEFT, top: TOP, right: Math.max(LEFT + 1, width - RIGHT), bottom: Math.max(TOP + 1, height - BOTTOM) };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Data} data
 * @param {Pointer} pointer
 */
export function draw(canvas, data, pointer) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width || !height) return;
  const context = context2d(canvas, width, height);
  if (context) new Drawing(context, width, height, data).all(pointer);
}

class Drawing {
  /** @param {CanvasRenderingContext2D} context @param {number} width @param {number} height @param {Data} data */
  constructor(context, width, height, data) {
    const style = getComputedStyle(document.documentElement);
    this.color = (/** @type {string} */ name) => style.getPropertyValue(name).trim() || "gray";
    this.c = context;
    this.data = data;
    this.box = plot(width, height);
    this.until = data.since + data.step * data.points;
    const most = largest(data.series.map((series) => series.values));
    this.values = ticks(0, most || 1, Math.max(2, Math.floor((this.box.bottom - this.box.top) / 36)));
    this.most = this.values.at(-1) ?? 1;
    context.font = `12px ${style.getPropertyValue("--font")}`;
  }

  /** @param {number} at */
  x(at) {
    const { left, right } = this.box;
    return left + ((at - this.data.since) / (this.until - this.data.since)) * (right - left);
  }

  /** @param {number} value */
  y(value) {
    const { top, bottom } = this.box;
    return bottom - (value / this.most) * (bottom - top);
  }

  /** @param {Pointer} pointer */
  all(pointer) {
    this.#axes();
    this.c.save();
    this.c.beginPath();
    this.c.rect(this.box.left, 0, this.box.right - this.box.left + 6, this.box.bottom + 1);
    this.c.clip();
    this.#choice(pointer);
    for (const marker of this.data.markers) this.#marker(marker);
    for (const series of this.data.series) this.#series(series);
    this.c.restore();
    this.#cursor(pointer);
  }

  #axes() {
    const { c, box } = this;
    c.lineWidth = 1;
    c.strokeStyle = this.color("--line");
    c.fillStyle = this.color("--muted");
    c.textBaseline = "middle";
    c.textAlign = "right";
    for (const value of this.values) {
      const y = Math.round(this.y(value)) + 0.5;
      line(c, box.left, y, box.right, y);
      c.fillText(short(value), box.left - 6, y);
    }
    c.textAlign = "left";
    c.fillText(this.data.unit, 2, 8);
    c.textAlign = "center";
    const span = this.until - this.data.since;
    const count = Math.max(1, Math.floor((box.right - box.left) / 84));
    for (const at of timeTicks(this.data.since, this.until, count)) {
      const x = Math.round(this.x(at)) + 0.5;
      line(c, x, box.bottom, x, box.bottom + 4);
      if (x > box.left + 16 && x < box.right - 16) c.fillText(timeLabel(at, span), x, box.bottom + 14);
    }
  }

  /** @param {Series} series */
  #series(series) {
    const { c } = this;
    c.strokeStyle = c.fillStyle = this.color(`--series-${series.color}`);
    c.lineWidth = 1.75;
    c.lineJoin = "round";
    c.setLineDash(series.dashed ? [5, 4] : []);
    for (const part of parts(series.values)) {
      c.beginPath();
      for (let i = part.first; i <= part.last; i++) this.#point(series, i, i === part.first);
      // A single point would be no line.
      if (series.steps || part.first === part.last) c.lineTo(this.#at(part.last + 1), this.y(series.values[part.last] ?? 0));
      c.stroke();
      if (!series.fill) continue;
      c.lineTo(this.#at(part.last + (series.steps ? 1 : 0.5)), this.box.bottom);
      c.lineTo(this.#at(part.first + (series.steps ? 0 : 0.5)), this.box.bottom);
      c.globalAlpha = 0.15;
      c.fill();
      c.globalAlpha = 1;
    }
    c.setLineDash([]);
  }

  /** @param {Series} series @param {number} i @param {boolean} begins */
  #point(series, i, begins) {
    const y = this.y(series.values[i] ?? 0);
    const x = this.#at(i + (series.steps ? 0 : 0.5));
    if (begins) this.c.moveTo(x, y);
    else {
      if (series.steps) this.c.lineTo(x, this.y(series.values[i - 1] ?? 0));
      this.c.lineTo(x, y);
    }
  }

  /** @param {number} index */
  #at(index) {
    return this.x(this.data.since + index * this.data.step);
  }

  /** @param {Marker} marker */
  #marker(marker) {
    const { c, box } = this;
    const x = Math.round(this.x(marker.time)) + 0.5;
    c.strokeStyle = c.fillStyle = this.color(MARKER_COLORS[marker.kind] ?? "--muted");
    if (marker.until !== undefined) {
      c.globalAlpha = 0.15;
      c.fillRect(x, box.top, Math.max(1, this.x(marker.until) - x), box.bottom - box.top);
      c.globalAlpha = 1;
    }
    c.lineWidth = 1;
    c.globalAlpha = 0.7;
    line(c, x, box.top - 6, x, box.bottom);
    c.globalAlpha = 1;
    shape(c, marker.kind, x, box.top - 9);
  }

  /** @param {Pointer} pointer */
  #choice({ cursor, from }) {
    if (cursor === null || from === null) return;
    const { box, c } = this;
    c.globalAlpha = 0.2;
    c.fillStyle = this.color("--accent");
    c.fillRect(this.x(Math.min(cursor, from)), box.top, Math.abs(this.x(cursor) - this.x(from)), box.bottom - box.top);
    c.globalAlpha = 1;
  }

  /** @param {Pointer} pointer */
  #cursor({ cursor }) {
    if (cursor === null || cursor < this.data.since || cursor > this.until) return;
    const x = Math.round(this.x(cursor)) + 0.5;
    this.c.strokeStyle = this.color("--text");
    this.c.lineWidth = 1;
    line(this.c, x, this.box.top, x, this.box.bottom);
  }
}

/** @param {CanvasRenderingContext2D} c @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 */
function line(c, x1, y1, x2, y2) {
  c.beginPath();
  c.moveTo(x1, y1);
  c.lineTo(x2, y2);
  c.stroke();
}

/** Kinds differ by shape, too. @param {CanvasRenderingContext2D} c @param {string} kind @param {number} x @param {number} y */
function shape(c, kind, x, y) {
  c.beginPath();
  if (kind === "camera") c.arc(x, y, 4, 0, 2 * Math.PI);
  else if (kind === "server") c.rect(x - 4, y - 4, 8, 8);
  else if (kind === "deployment") path(c, [[x, y - 5], [x + 5, y], [x, y + 5], [x - 5, y]]);
  else path(c, [[x, y - 5], [x + 5, y + 4], [x - 5, y + 4]]);
  c.fill();
}

/** @param {CanvasRenderingContext2D} c @param {[number, number][]} points */
function path(c, points) {
  points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
  c.closePath();
}

/** The stretches without a missing value. @param {(number | null)[]} values */
function parts(values) {
  /** @type {{first: number, last: number}[]} */
  const ranges = [];
  values.forEach((value, i) => {
    if (value === null) return;
    const last = ranges.at(-1);
    if (last && last.last === i - 1) last.last = i;
    else ranges.push({ first: i, last: i });
  });
  return ranges;
}

/** @param {number} value */
function short(value) {
  if (value >= 1e6) return `${number(value / 1e6)} M`;
  if (value >= 10_000) return `${number(value / 1000)} k`;
  return number(value, 3);
}
