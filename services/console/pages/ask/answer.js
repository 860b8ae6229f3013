/** An answer or a summary: its text, what it rests on, and the frames that the model was shown. */

import { url } from "../api.js";
import { playClip } from "../parts/clip.js";
import { h } from "../parts/dom.js";
import { clock, iso } from "../parts/format.js";
import { to } from "../router.js";
import { strings } from "./strings.js";

/**
 * @typedef {{kind: "answer" | "summary", job: string, camera: string, question: string, text: string, reason: string, model: string,
 *   start: string, end: string, used: string[], frames: {time: string, picture: string, used: boolean}[], captions: number | null,
 *   parts: {start: string, end: string, text: string}[]}} Answer
 */

const WIDTH = 320;
const AROUND_MS = 60_000;

/** @param {Answer} answer @param {{withQuestion?: boolean}} [options] withQuestion: show the question too */
export function card(answer, { withQuestion = false } = {}) {
  return h("article", { class: "card answer", "aria-label": answer.question || strings.summaryOf },
    withQuestion ? h("h3", {}, answer.question || strings.summaryOf) : null,
    h("p", { class: "small muted" }, h("strong", {}, answer.camera), " · ", strings.stretch(clock(answer.start), clock(answer.end)), " · ", strings.by(answer.model),
      answer.captions ? ` · ${strings.captions(answer.captions)}` : ""),
    h("div", { class: "text" }, answer.text ? answer.text.split(/\n+/).map((line) => h("p", {}, line)) : h("p", { class: "muted" }, answer.reason)),
    answer.used.length
      ? h("p", { class: "small" }, strings.rests, ": ", ...answer.used.flatMap((time, n) => [n ? ", " : "", playButton(answer.camera, time, clock(time))]))
      : null,
    answer.frames.length ? strip(answer) : null,
    answer.parts.length ? parts(answer) : null,
    h("p", { class: "row small" },
      h("a", { href: to("cameras", [answer.camera]) }, strings.atCamera),
      h("a", { href: to("review", [], { camera: answer.camera, since: answer.start, until: answer.end }) }, strings.incidents),
      h("a", { href: to("find", [], { camera: answer.camera, text: answer.question, since: answer.start, until: answer.end }) }, strings.find)));
}

/** A time whose video is shown. @param {string} camera @param {string} time @param {...import("../parts/dom.js").Child} content */
function playButton(camera, time, ...content) {
  return h("button", { type: "button", class: "plain", onclick: () => playClip(camera, time) }, ...content);
}

/** @param {Answer} answer */
function strip(answer) {
  return h("ul", { class: "strip", "aria-label": strings.frames },
    answer.frames.map((frame) => {
      const name = strings.frame(answer.camera, clock(frame.time)) + (frame.used ? `, ${strings.usedFrame}` : "");
      const image = h("img", { src: url(frame.picture, { width: WIDTH }), alt: "", loading: "lazy", decoding: "async" });
      image.addEventListener("error", () => image.replaceWith(h("span", { class: "none small" }, strings.expired)));
      const button = playButton(answer.camera, frame.time, image, h("span", { class: "small" }, clock(frame.time)));
      button.setAttribute("aria-label", name);
      button.title = name;
      return h("li", { class: frame.used ? "used" : "" }, button);
    }));
}

/** @param {Answer} answer */
function parts(answer) {
  return h("details", {}, h("summary", {}, strings.parts(answer.parts.length)),
    h("dl", { class: "parts" }, answer.parts.flatMap((part) => {
      const times = { camera: answer.camera, since: iso(Date.parse(part.start) - AROUND_MS), until: part.end };
      return [h("dt", {}, h("a", { href: to("review", [], times) }, clock(part.start))), h("dd", {}, part.text)];
    })));
}
