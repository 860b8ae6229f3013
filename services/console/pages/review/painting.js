/** The timeline's picture: a row a camera, incidents as bars, times without video hatched. */

import { timeLabel, timeTicks } from "../parts/chart_scale.js";

/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./types.js").TimelineData} TimelineData */
/** @typedef {{width: number, height: number, label: number, row: number, axis: number}} Measures in CSS pixels */

const TICK = 90;
// Height shows the severity too: colours alone are not accessible.
const HEIGHTS = { info: 0.4, warning: 0.65, critical: 0.9 };

/** @param {number} time @param {Span} span @param {Measures} m */
function xOf(time, span, m) {
  return m.label + ((time - span.since) / (span.until - span.since)) * (m.width - m.label);
}

/** @param {number} x @param {Span} span @param {Measures} m */
export function timeOf(x, span, m) {
  return span.since + ((x - m.label) / (m.width - m.label)) * (span.until - span.since);
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {Measures} m
 * @param {Span} span what is shown, which may be another time than the data's until that is there
 * @param {TimelineData} data
 * @param {{camera: string, start: number} | null} open the incident that is open
 * @param {(name: string) => string} colour of the theme
 */
export function paint(c, m, span, data, open, colour) {
  c.clearRect(0, 0, m.width, m.height);
  c.font = "12px system-ui, sans-serif";
  c.textBaseline = "middle";
  axis(c, m, span, colour);
  const hatch = hatchPattern(c, colour("--muted"));
  c.save();
  c.beginPath();
  c.rect(m.label, 0, m.width - m.label, m.height);
  c.clip();
  data.rows.forEach((row, n) => {
    const top = m.axis + n * m.row;
    gaps(c, m, span, row, top, hatch);
    bars(c, m, span, data, row, top, colour);
    if (open?.camera === row.camera) marker(c, xOf(open.start, span, m), top, m.row, colour("--accent"));
  });
  const now = xOf(Date.now(), span, m);
  c.fillStyle = colour("--accent");
  c.fillRect(now, m.axis, 1, m.height);
  c.restore();
  names(c, m, data, colour);
}

/** @param {CanvasRenderingContext2D} c @param {Measures} m @param {Span} span @param {(name: string) => string} colour */
function axis(c, m, span, colour) {
  for (const time of timeTicks(span.since, span.until, Math.max(2, (m.width - m.label) / TICK))) {
    const x = xOf(time, span, m);
    c.fillStyle = colour("--line");
    c.fillRect(x, m.axis - 4, 1, m.height);
    c.fillStyle = colour("--muted");
    const text = timeLabel(time, span.until - span.since);
    if (x + c.measureText(text).width + 4 < m.width) c.fillText(text, x + 3, m.axis / 2);
  }
}

/** @param {CanvasRenderingContext2D} c @param {Measures} m @param {TimelineData} data @param {(name: string) => string} colour */
function names(c, m, data, colour) {
  data.rows.forEach((row, n) => {
    const top = m.axis + n * m.row;
    c.fillStyle = colour("--line");
    c.fillRect(0, top + m.row - 1, m.width, 1);
    c.fillStyle = colour("--text");
    c.fillText(shorten(c, row.camera, m.label - 8), 0, top + m.row / 2);
  });
}

/** @param {CanvasRenderingContext2D} c @param {string} text @param {number} width */
function shorten(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  let n = text.length;
  while (n > 1 && c.measureText(`${text.slice(0, n)}…`).width > width) n -= 1;
  return `${text.slice(0, n)}…`;
}

/**
 * @param {CanvasRenderingContext2D} c @param {Measures} m @param {Span} span
 * @param {import("./types.js").Row} row @param {number} top @param {CanvasPattern | string} hatch
 */
function gaps(c, m, span, row, top, hatch) {
  c.fillStyle = hatch;
  for (const gap of row.gaps) {
    const from = xOf(Date.parse(gap.since), span, m);
    const to = gap.until ? xOf(Date.parse(gap.until), span, m) : Math.min(m.width, xOf(Date.now(), span, m));
    c.fillRect(from, top + 2, Math.max(1, to - from), m.row - 5);
  }
}

/**
 * @param {CanvasRenderingContext2D} c @param {Measures} m @param {Span} span @param {TimelineData} data
 * @param {import("./types.js").Row} row @param {number} top @param {(name: string) => string} colour
 */
function bars(c, m, span, data, row, top, colour) {
  const since = Date.parse(data.since);
  const part = (Date.parse(data.until) - since) / data.parts;
  const colours = { info: colour("--info"), warning: colour("--warn"), critical: colour("--bad") };
  for (const bucket of row.buckets) {
    const x = xOf(since + bucket.n * part, span, m);
    const wide = Math.max(3, xOf(since + (bucket.n + 1) * part, span, m) - x - 1);
    const high = (m.row - 4) * HEIGHTS[bucket.severity];
    c.globalAlpha = bucket.unreviewed ? 1 : 0.45;
    c.fillStyle = colours[bucket.severity];
    c.fillRect(x, top + m.row - 2 - high, wide, high);
    c.globalAlpha = 1;
    if (bucket.count > 1 && wide > 18) {
      c.fillStyle = colour("--bg");
      c.fillText(String(bucket.count), x + 3, top + m.row - 2 - high / 2);
    }
  }
}

/** @param {CanvasRenderingContext2D} c @param {number} x @param {number} top @param {number} high @param {string} colour */
function marker(c, x, top, high, colour) {
  c.strokeStyle = colour;
  c.lineWidth = 2;
  c.strokeRect(x - 4, top + 1, 10, high - 3);
}

/** @param {CanvasRenderingContext2D} c @param {string} colour @returns {CanvasPattern | string} */
function hatchPattern(c, colour) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const t = tile.getContext("2d");
  if (!t) return colour;
  t.strokeStyle = colour;
  t.globalAlpha = 0.6;
  t.beginPath();
  t.moveTo(0, 6);
  t.lineTo(6, 0);
  t.stroke();
  return c.createPattern(tile, "repeat") ?? colour;
}
