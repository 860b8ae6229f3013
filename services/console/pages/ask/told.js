/** An answer or a summary: its text, what it rests on, and the frames that the model was shown. */

import { url } from "../api.js";
import { playClip } from "../parts/clip.js";
import { h } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { to } from "../router.js";
import { strings } from "./strings.js";

/**
 * @typedef {{kind: "answer" | "summary", job: string, camera: string, question: string, text: string, reason: string, model: string,
 *   start: string, end: string, used: string[], frames: {time: string, picture: string, used: boolean}[], captions: number | null,
 *   parts: {start: string, end: string, text: string}[]}} Told
 */

const WIDTH = 320;
const AROUND_MS = 60_000;

/** @param {Told} told @param {{asked?: boolean}} [shows] asked: what was asked too */
export function card(told, { asked = false } = {}) {
  return h("article", { class: "card told", "aria-label": told.question || strings.summaryOf },
    asked ? h("h3", {}, told.question || strings.summaryOf) : null,
    h("p", { class: "small muted" }, h("strong", {}, told.camera), " · ", strings.stretch(clock(told.start), clock(told.end)), " · ", strings.by(told.model),
      told.captions ? ` · ${strings.captions(told.captions)}` : ""),
    h("div", { class: "text" }, told.text ? told.text.split(/\n+/).map((line) => h("p", {}, line)) : h("p", { class: "muted" }, told.reason)),
    told.used.length
      ? h("p", { class: "small" }, strings.rests, ": ", ...told.used.flatMap((time, n) => [n ? ", " : "", played(told.camera, time, clock(time))]))
      : null,
    told.frames.length ? strip(told) : null,
    told.parts.length ? parts(told) : null,
    h("p", { class: "row small" },
      h("a", { href: to("cameras", [told.camera]) }, strings.atCamera),
      h("a", { href: to("review", [], { camera: told.camera, since: told.start, until: told.end }) }, strings.incidents),
      h("a", { href: to("find", [], { camera: told.camera, text: told.question, since: told.start, until: told.end }) }, strings.find)));
}

/** A time whose video is shown. @param {string} camera @param {string} time @param {...import("../parts/dom.js").Child} content */
function played(camera, time, ...content) {
  return h("button", { type: "button", class: "plain", onclick: () => playClip(camera, time) }, ...content);
}

/** @param {Told} told */
function strip(told) {
  return h("ul", { class: "strip", "aria-label": strings.frames },
    told.frames.map((frame) => {
      const name = strings.frame(told.camera, clock(frame.time)) + (frame.used ? `, ${strings.usedFrame}` : "");
      const image = h("img", { src: url(frame.picture, { width: WIDTH }), alt: "", loading: "lazy", decoding: "async" });
      image.addEventListener("error", () => image.replaceWith(h("span", { class: "none small" }, strings.gone)));
      const button = played(told.camera, frame.time, image, h("span", { class: "small" }, clock(frame.time)));
      button.setAttribute("aria-label", name);
      button.title = name;
      return h("li", { class: frame.used ? "used" : "" }, button);
    }));
}

/** @param {Told} told */
function parts(told) {
  return h("details", {}, h("summary", {}, strings.parts(told.parts.length)),
    h("dl", { class: "parts" }, told.parts.flatMap((part) => {
      const times = { camera: told.camera, since: new Date(Date.parse(part.start) - AROUND_MS).toISOString(), until: part.end };
      return [h("dt", {}, h("a", { href: to("review", [], times) }, clock(part.start))), h("dd", {}, part.text)];
    })));
}
