/** The video around a moment, in a dialog. */

import { url } from "../api.js";
import { to } from "../router.js";
import { strings } from "../strings.js";
import { fill, h } from "./dom.js";
import { clock } from "./format.js";

const BEFORE_MS = 5000;
const AFTER_MS = 10_000;
const AROUND_MS = 300_000;

/** @param {string} camera @param {string} time */
export function playClip(camera, time) {
  const at = Date.parse(time);
  const around = (/** @type {number} */ before, /** @type {number} */ after) => [at - before, at + after].map((ms) => new Date(ms).toISOString());
  const [from, until] = around(BEFORE_MS, AFTER_MS);
  const [since, end] = around(AROUND_MS, AROUND_MS);
  const title = strings.clip.at(camera, clock(time));
  const stage = h("div", { class: "clip" });
  const video = h("video", { controls: true, autoplay: true, muted: true, playsInline: true, "aria-label": title,
    src: url(`clips/${encodeURIComponent(camera)}`, { from, to: until }) });
  video.addEventListener("error", () => video.isConnected && fill(stage, h("p", { class: "empty" }, strings.clip.expired)));
  fill(stage, video);
  const leave = () => dialog.close();
  const dialog = h("dialog", { class: "wide", "aria-label": title },
    h("div", { class: "stack" }, h("h2", {}, title), stage,
      h("div", { class: "row" },
        h("button", { type: "button", onclick: leave }, strings.close),
        h("a", { href: to("review", [], { camera, since, until: end }), onclick: leave }, strings.clip.incidents),
        h("a", { href: to("cameras", [camera]), onclick: leave }, strings.clip.camera))));
  dialog.addEventListener("close", () => {
    // What is not asked for any more is not read any more.
    video.removeAttribute("src");
    video.load();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}
