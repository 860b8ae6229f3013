/** Boxes, names and places on a canvas that lies over a video. */

import { context2d } from "./canvas.js";

/** @typedef {import("./overlay.js").Mark} Mark */
/** @typedef {import("./overlay.js").Place} Place */

const COLOURS = 6;
const TEXT_PX = 13;

/**
 * Clear the canvas, as large as the picture of the video is shown, and give what draws in it: 0 to 1 is its width and
 * height. Null where there is no picture.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLVideoElement} video
 */
export function fit(canvas, video) {
  const { videoWidth, videoHeight, clientWidth, clientHeight } = video;
  if (!videoWidth || !clientWidth) return null;
  const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
  const [width, height] = [videoWidth * scale, videoHeight * scale];
  const context = context2d(canvas, width, height);
  if (!context) return null;
  Object.assign(canvas.style, {
    width: `${width}px`,
    height: `${height}px`,
    left: `${video.offsetLeft + (clientWidth - width) / 2}px`,
    top: `${video.offsetTop + (clientHeight - height) / 2}px`,
  });
  return { context, width, height, style: getComputedStyle(canvas) };
}

/** @typedef {NonNullable<ReturnType<typeof fit>>} Surface */

/** @param {Surface} surface @param {Mark[]} marks */
export function drawMarks({ context, width, height, style }, marks) {
  for (const { box, label, id } of marks) {
    const [x1, y1, x2, y2] = box;
    context.strokeStyle = colour(style, label);
    context.lineWidth = 2;
    context.strokeRect(x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height);
    write(context, style, id ? `${label} ${id}` : label, x1 * width, y1 * height, context.strokeStyle);
  }
}

/** @param {Surface} surface @param {Place[]} places */
export function drawPlaces({ context, width, height, style }, places) {
  for (const { name, points, isLine } of places) {
    const first = points[0];
    if (!first) continue;
    context.strokeStyle = style.getPropertyValue("--info");
    context.lineWidth = 1.5;
    context.setLineDash([6, 4]);
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x * width, y * height);
    if (!isLine) context.closePath();
    context.stroke();
    context.setLineDash([]);
    write(context, style, name, first[0] * width, first[1] * height, context.strokeStyle);
  }
}

/** The same for the same label, on every page. @param {CSSStyleDeclaration} style @param {string} label */
export function colour(style, label) {
  let sum = 0;
  for (const letter of label) sum = (31 * sum + (letter.codePointAt(0) ?? 0)) % 65_521;
  return style.getPropertyValue(`--series-${1 + (sum % COLOURS)}`);
}

/**
 * Text above a point, or below where there is no room.
 * @param {CanvasRenderingContext2D} context
 * @param {CSSStyleDeclaration} style
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {string | CanvasGradient | CanvasPattern} background
 */
function write(context, style, text, x, y, background) {
  context.font = `600 ${TEXT_PX}px ${style.fontFamily}`;
  const height = TEXT_PX + 5;
  const top = y >= height ? y - height : y;
  context.fillStyle = background;
  context.fillRect(x - 1, top, context.measureText(text).width + 8, height);
  context.fillStyle = style.getPropertyValue("--on-accent");
  context.fillText(text, x + 3, top + TEXT_PX);
}
