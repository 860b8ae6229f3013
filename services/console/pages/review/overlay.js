/** Where objects were at a moment, and how that is drawn over a picture. */

import { colour, drawMarks } from "../parts/overlay_draw.js";

/** @typedef {import("./types.js").Box} Box */
/** @typedef {{id: string, label: string, times: number[], boxes: Box[]}} Track times in milliseconds since 1970, rising */
/** @typedef {{label: string, box: Box, isSeen: boolean}} Drawn known: seen then; not only as it was last seen */

// How long a box stays after an analysed frame; frames further apart than HOLE are not interpolated.
const HOLD = 600;
const HOLE = 3000;

/** @param {import("./types.js").Path[]} paths @returns {Track[]} */
export function tracks(paths) {
  return paths.map(({ id, label, points }) => {
    const sorted = points.map((point) => ({ time: Date.parse(point.time), box: point.box })).sort((a, b) => a.time - b.time);
    return { id, label, times: sorted.map((point) => point.time), boxes: sorted.map((point) => point.box) };
  });
}

/** The box of a track at a moment; null where it was not seen. @param {Track} track @param {number} time @returns {Box | null} */
function boxAt(track, time) {
  const after = track.times.findIndex((t) => t > time);
  const n = after < 0 ? track.times.length - 1 : after - 1;
  const [box, next] = [track.boxes[n], track.boxes[n + 1]];
  const [from, to] = [track.times[n], track.times[n + 1]];
  if (!box || from === undefined) return null;
  if (!next || to === undefined || to - from > HOLE) return time - from <= HOLD ? box : null;
  const share = (time - from) / (to - from);
  return /** @type {Box} */ (box.map((v, i) => v + (/** @type {number} */ (next[i]) - v) * share));
}

/**
 * All that is drawn at a moment. Objects without a path are drawn as they were last seen, around that moment.
 * @param {Track[]} tracks
 * @param {import("./types.js").Thing[]} objects
 * @param {number} time
 * @param {number} last when that was
 * @returns {Drawn[]}
 */
export function boxesAt(tracks, objects, time, last) {
  /** @type {Drawn[]} */
  const out = [];
  for (const track of tracks) {
    const box = boxAt(track, time);
    if (box) out.push({ label: track.label, box, isSeen: true });
  }
  const ids = new Set(tracks.map((track) => track.id));
  if (Math.abs(time - last) < HOLD) {
    for (const { id, label, box } of objects) if (!ids.has(id)) out.push({ label, box, isSeen: false });
  }
  return out;
}

/**
 * @param {import("../parts/overlay_draw.js").Surface} surface
 * @param {Track[]} tracks @param {Drawn[]} boxes @param {number} time
 */
export function draw(surface, tracks, boxes, time) {
  const { context, width, height, style } = surface;
  context.clearRect(0, 0, width, height);
  for (const track of tracks) line(surface, track, time, colour(style, track.label));
  for (const { label, box, isSeen: isSolid } of boxes) {
    context.setLineDash(isSolid ? [] : [6, 4]);
    drawMarks(surface, [{ label, box }]);
  }
  context.setLineDash([]);
}

/**
 * The way of its feet: what is behind it bright, what is to come faint.
 * @param {import("../parts/overlay_draw.js").Surface} surface
 * @param {Track} track @param {number} time @param {string} stroke
 */
function line({ context, width, height }, track, time, stroke) {
  context.strokeStyle = stroke;
  context.lineWidth = 2;
  for (const past of [false, true]) {
    context.globalAlpha = past ? 0.9 : 0.4;
    context.beginPath();
    track.boxes.forEach((box, n) => {
      const at = /** @type {number} */ (track.times[n]);
      const before = track.times[n - 1];
      if (past && at > time) return;
      const [x, y] = [((box[0] + box[2]) / 2) * width, box[3] * height];
      if (before === undefined || at - before > HOLE) context.moveTo(x, y);
      else context.lineTo(x, y);
    });
    context.stroke();
  }
  context.globalAlpha = 1;
}
