/** Moments as a grid of cards. Each shows its clip while one points at it, or comes to it by the keyboard. */

import { url } from "../api.js";
import { h } from "../parts/dom.js";
import { clock, iso, number } from "../parts/format.js";
import { to } from "../router.js";
import { strings } from "./strings.js";

/**
 * @typedef {{camera: string, start: string, end: string, time: string, id: string | null, similarity: number | null,
 *   score: number | null, labels: string[], hits: number, kept: boolean, picture: string | null, run: string | null}} Moment
 */

// A pointer that only passes requests no clip.
const LINGER_MS = 250;
const BEFORE_MS = 3000;
const AFTER_MS = 5000;
// A thing that stands in view all day is one moment.
const LONGEST_MS = 60_000;
const AROUND_MS = 300_000;

/** The stretch around its best frame. @param {Moment} moment @param {number} before @param {number} after */
function stretch(moment, before, after) {
  const at = Date.parse(moment.time);
  return {
    from: iso(Math.max(Date.parse(moment.start), at - before)),
    to: iso(Math.min(Date.parse(moment.end), at + after)),
  };
}

/** The address of a moment's clip. @param {Moment} moment */
export function clipUrl(moment) {
  return url(`clips/${encodeURIComponent(moment.camera)}`, stretch(moment, LONGEST_MS / 2, LONGEST_MS / 2));
}

/** @param {Moment} moment */
export function clipName(moment) {
  return `${moment.camera}-${moment.time.replace(/[-:]/g, "").slice(0, 15)}.mp4`;
}

/** @param {string | null} picture base64 */
export function dataUrl(picture) {
  return picture ? `data:image/jpeg;base64,${picture}` : "";
}

/** @param {Moment} moment @param {(moment: Moment) => void} like */
export function card(moment, like) {
  const times = { since: iso(Date.parse(moment.start) - AROUND_MS), until: iso(Date.parse(moment.end) + AROUND_MS) };
  return h("li", { class: "card moment" },
    shot(moment),
    h("div", {}, h("strong", {}, moment.camera), " ", h("time", { dateTime: moment.time }, clock(moment.time))),
    h("div", { class: "row small" }, tags(moment)),
    h("div", { class: "row small" },
      moment.id ? h("button", { type: "button", onclick: () => like(moment) }, strings.like) : null,
      moment.kept ? h("a", { href: clipUrl(moment), download: clipName(moment) }, strings.clip) : h("span", { class: "muted" }, strings.expired),
      h("a", { href: to("cameras", [moment.camera]) }, strings.atCamera),
      h("a", { href: to("review", [], { camera: moment.camera, ...times }) }, strings.review)));
}

/** @param {Moment} moment */
function tags(moment) {
  return [
    moment.similarity === null ? "" : strings.similarity(number(moment.similarity, 2)),
    moment.score === null ? "" : strings.labelScore(number(moment.score, 2)),
    ...moment.labels,
    moment.hits > 1 ? strings.merged(moment.hits) : "",
    moment.run ? strings.run(moment.run) : "",
  ].filter(Boolean).map((text) => h("span", { class: "tag" }, text));
}

/** @param {Moment} moment */
function shot(moment) {
  const picture = moment.picture ? h("img", { src: dataUrl(moment.picture), alt: "", decoding: "async" }) : h("span", { class: "none" });
  if (!moment.kept) return h("div", { class: "shot" }, picture);
  const button = h("button", { type: "button", class: "shot", "aria-label": strings.play(moment.camera, clock(moment.time)) }, picture);
  /** @type {HTMLVideoElement | null} */
  let video = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const stop = () => {
    clearTimeout(timer);
    video?.removeAttribute("src");
    video?.load();
    video?.remove();
    video = null;
  };
  const play = () => {
    clearTimeout(timer);
    if (video) return;
    const player = h("video", { muted: true, loop: true, autoplay: true, playsInline: true,
      src: url(`clips/${encodeURIComponent(moment.camera)}`, stretch(moment, BEFORE_MS, AFTER_MS)) });
    // The video may have expired since: the picture stays.
    player.addEventListener("error", () => player === video && stop());
    video = player;
    button.append(player);
  };
  const soon = () => {
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) timer = setTimeout(play, LINGER_MS);
  };
  button.addEventListener("pointerenter", soon);
  button.addEventListener("focus", soon);
  button.addEventListener("pointerleave", stop);
  button.addEventListener("blur", stop);
  button.addEventListener("click", () => (video ? stop() : play()));
  return button;
}
